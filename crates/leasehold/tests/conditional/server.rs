//! A server of objects with conditional requests, as much of it as the pattern needs.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What an object's ETag is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Etags {
    /// Its content alone, as that of many object stores is.
    OfContent,
    /// Each write has another one.
    OfEachWrite,
}

pub(crate) struct Server {
    address: SocketAddr,
}

#[derive(Clone)]
struct Object {
    etag: String,
    fence: Option<String>,
    body: String,
}

type Objects = Arc<Mutex<(BTreeMap<String, Object>, u64)>>;

/// What it answered.
pub(crate) struct Answer {
    status: u16,
    pub(crate) etag: String,
    pub(crate) fence: Option<String>,
    pub(crate) body: String,
}

/// A request or an answer: its first line, its headers, its body.
type Message = (String, BTreeMap<String, String>, String);

impl Server {
    pub(crate) fn start(etags: Etags) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let objects = Objects::default();
            for stream in listener.incoming() {
                let (stream, objects) = (stream.unwrap(), objects.clone());
                std::thread::spawn(move || serve(stream, &objects, etags));
            }
        });
        Self { address }
    }

    pub(crate) fn get(&self, path: &str) -> Option<Answer> {
        let answer = self.ask(&format!("GET {path} HTTP/1.1\r\n"), "");
        (answer.status == 200).then_some(answer)
    }

    /// The new ETag, or none where the condition did not hold.
    pub(crate) fn put(
        &self,
        path: &str,
        condition: &str,
        header: &str,
        body: &str,
    ) -> Option<String> {
        let mut head = format!("PUT {path} HTTP/1.1\r\n{condition}\r\n");
        if !header.is_empty() {
            head += &format!("{header}\r\n");
        }
        let answer = self.ask(&head, body);
        match answer.status {
            200 => Some(answer.etag),
            412 => None,
            status => panic!("{status}"),
        }
    }

    fn ask(&self, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{head}Host: {}\r\nContent-Length: {length}\r\n\r\n{body}",
            self.address
        )
        .unwrap();
        let (first, mut headers, body) = message(&stream);
        Answer {
            status: first.split(' ').nth(1).unwrap().parse().unwrap(),
            etag: headers.remove("etag").unwrap_or_default(),
            fence: headers.remove("x-fence"),
            body,
        }
    }
}

fn message(stream: &TcpStream) -> Message {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    let first = line();
    let mut headers = BTreeMap::new();
    while let Some((name, value)) = line().split_once(": ") {
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers["content-length"].parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (first, headers, String::from_utf8(body).unwrap())
}

fn serve(mut stream: TcpStream, objects: &Objects, etags: Etags) {
    let (first, headers, body) = message(&stream);
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    // The condition and the write in one step: that is what the pattern asks of a server.
    let mut guard = objects.lock().unwrap();
    let (objects, writes) = &mut *guard;
    let found = objects.get(path).cloned();
    let holds = match (headers.get("if-match"), headers.get("if-none-match")) {
        (Some(etag), None) => found.as_ref().is_some_and(|found| found.etag == *etag),
        (None, Some(any)) => any == "*" && found.is_none(),
        _ => method == "GET",
    };
    let (status, object) = match (method, found) {
        ("GET", None) => (404, None),
        ("GET", found) => (200, found),
        _ if !holds => (412, None),
        _ => {
            *writes += 1;
            let etag = match etags {
                Etags::OfContent => format!("\"{body}\"").replace('\n', "+"),
                Etags::OfEachWrite => format!("\"{writes}\""),
            };
            let fence = headers.get("x-fence").cloned();
            let object = Object { etag, fence, body };
            objects.insert(path.to_owned(), object.clone());
            (200, Some(object))
        }
    };
    drop(guard);
    let mut head = format!("HTTP/1.1 {status} x\r\n");
    let object = object.unwrap_or(Object {
        etag: String::new(),
        fence: None,
        body: String::new(),
    });
    head += &format!("ETag: {}\r\n", object.etag);
    if let Some(fence) = &object.fence {
        head += &format!("x-fence: {fence}\r\n");
    }
    let length = object.body.len();
    write!(
        stream,
        "{head}Content-Length: {length}\r\n\r\n{}",
        object.body
    )
    .unwrap();
}
