//! The record survives, and what is not ours is told apart.

use super::*;

fn full() -> Record {
    let body = Body {
        machine_id: Some("m-1".into()),
        version: -9,
        needs: 1,
        since: Some(SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456)),
        note: Some("nightly".into()),
        data: Some(Bytes::from_static(b"\x00\xff")),
        policy: Some("higher".into()),
        closed: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
        ran: Some(Box::new(Ran {
            by: "m0".into(),
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_799_900_000),
        })),
        delay: Duration::from_millis(1500),
        unconfirmed: true,
        ended: Some(Box::new(Ended {
            how: EndedHow::Broken,
            by: Some("op".into()),
            reason: Some("stuck".into()),
            fence: Some(7),
        })),
        unknown: [("later".to_owned(), Value::from(vec![1, 2]))]
            .into_iter()
            .collect(),
    };
    Record {
        index: Some(12),
        fence: Some(8),
        period: Some(Duration::from_millis(1500)),
        wait: Duration::from_micros(3),
        hold: Duration::from_secs(2),
        ..Record::new(Arc::new(body), AttemptId([0xab; 16]))
    }
}

#[test]
fn a_record_survives_encoding_and_keeps_unknown_fields() {
    assert_eq!(Record::decode(&full().encode()), full());
    let body = Record::decode(&full().encode_body());
    assert_eq!(body.body, full().body);
    assert_eq!((body.index, body.attempt, body.period), (None, None, None));
}

#[test]
fn fleet_reads_ours() {
    let json: Value = serde_json::from_slice(&full().encode()).unwrap();
    assert_eq!(
        (json["MachineID"].as_str(), json["Version"].as_i64()),
        (Some("m-1"), Some(-9))
    );
}

#[test]
fn foreign_bytes_are_read_as_fleet_read_them() {
    for (bytes, id, version) in [
        (&br#"{"MachineID":"XXX","Version":9}"#[..], "XXX", 9),
        (br#"{"MachineID":"XXX","Version":9,"more":true}"#, "XXX", 9),
        (b"XXX", "XXX", 0),
        (br#"{"MachineID":"XX"#, r#"{"MachineID":"XX"#, 0),
        (br#"{"MachineID":1}"#, r#"{"MachineID":1}"#, 0),
        (b"17", "17", 0),
    ] {
        let record = Record::decode(bytes);
        assert_eq!(record.origin, Origin::Fleet, "{bytes:?}");
        assert_eq!(
            (record.body.machine_id.as_deref(), record.body.version),
            (Some(id), version)
        );
        assert!(record.is_held() && record.judged().is_ok());
        assert_eq!(record.fence_at(5), 5);
    }
}

#[test]
fn what_cannot_be_read_counts_as_held() {
    for bytes in [
        &b"\xff\xfe"[..],
        b"",
        b"{}",
        br#"{"MachineID":""}"#,
        &[b'x'; 1025],
    ] {
        let record = Record::decode(bytes);
        assert!(matches!(record.origin, Origin::Unreadable(_)), "{bytes:?}");
        assert!(record.is_held());
        assert_eq!(record.judged().unwrap_err().kind(), ErrorKind::Foreign);
    }
    let damaged = Record::decode(br#"{"MachineID":"a","Version":1,"needs":1,"fence":"x"}"#);
    assert!(damaged.judged().unwrap_err().to_string().contains("fence"));
}

#[test]
fn a_newer_record_counts_as_held() {
    let record = Record::decode(br#"{"needs":2,"tombstone":true}"#);
    assert_eq!(record.origin, Origin::Newer(2));
    assert!(record.is_held());
    assert_eq!(record.judged().unwrap_err().kind(), ErrorKind::Foreign);
}

#[test]
fn a_tombstone_has_no_machine_id() {
    let tombstone = Record::new(
        Arc::new(Body {
            needs: 1,
            ..Body::default()
        }),
        AttemptId([1; 16]),
    );
    let read = Record::decode(&tombstone.encode());
    assert!(!read.is_held() && read.judged().is_ok());
}

#[test]
fn an_object_that_does_not_say_which_reader_it_needs_is_not_ours() {
    for bytes in [
        &br#"{"needs":null,"settings":"of somebody else"}"#[..],
        br#"{"needs":0}"#,
    ] {
        let record = Record::decode(bytes);
        assert!(matches!(record.origin, Origin::Unreadable(_)), "{record:?}");
        assert!(record.is_held());
    }
    let held = Record::decode(br#"{"MachineID":"a","Version":1,"needs":0}"#);
    assert_eq!(held.origin, Origin::Fleet);
    for needs in ["-1", "1.5", "\"1\"", "[]", "1e400"] {
        let record = Record::decode(format!(r#"{{"needs":{needs}}}"#).as_bytes());
        assert_ne!(record.origin, Origin::Leasehold, "{needs}");
        assert!(record.is_held());
    }
}

#[test]
fn what_is_read_is_what_would_be_written() {
    for json in [
        r#"{"Version":9,"needs":1}"#,
        r#"{"needs":1,"ended":{"how":"stolen","fence":9007199254740992}}"#,
    ] {
        let record = Record::decode(json.as_bytes());
        assert_eq!(record.origin, Origin::Leasehold);
        assert_eq!(Record::decode(&record.encode()), record, "{json}");
        let fence = record.body.ended.as_ref().and_then(|ended| ended.fence);
        assert!(fence.is_none_or(|fence| fence <= MAX_INDEX));
    }
}

#[test]
fn numbers_in_unknown_fields_keep_their_digits() {
    let json = r#"{"later":31.245270191439438,"needs":1}"#;
    let written = String::from_utf8(Record::decode(json.as_bytes()).encode()).unwrap();
    assert_eq!(written, json);
}

#[test]
fn a_machine_id_is_read_up_to_its_bound() {
    for (length, read) in [(1, true), (1024, true), (1025, false), (4096, false)] {
        let id = "m".repeat(length);
        for bytes in [
            id.clone(),
            format!(r#"{{"MachineID":"{id}","Version":3}}"#),
            format!(r#"{{"MachineID":"{id}","Version":3,"needs":1}}"#),
        ] {
            let record = Record::decode(bytes.as_bytes());
            let unreadable = matches!(record.origin, Origin::Unreadable(_));
            assert_eq!(unreadable, !read, "{length}");
            assert!(record.is_held());
            let found = record.body.machine_id.clone();
            assert_eq!(found, read.then(|| id.clone()));
        }
    }
    let empty = Record::decode(br#"{"MachineID":"","Version":3,"needs":1}"#);
    assert!(matches!(empty.origin, Origin::Unreadable(_)));
}

#[test]
fn what_a_newer_version_wrote_is_kept_and_shown() {
    let newer = READER_VERSION + 1;
    let json = format!(r#"{{"MachineID":"m","Version":3,"later":[1],"needs":{newer}}}"#);
    let record = Record::decode(json.as_bytes());
    assert_eq!(record.origin, Origin::Newer(newer));
    assert_eq!(record.body.machine_id.as_deref(), Some("m"));
    assert_eq!(record.body.needs, newer);
    assert_eq!(record.body.unknown["later"], Value::from(vec![1]));
    // Our own version is not newer.
    let json = format!(r#"{{"MachineID":"m","Version":3,"needs":{READER_VERSION}}}"#);
    assert_eq!(Record::decode(json.as_bytes()).origin, Origin::Leasehold);
}

#[test]
fn what_is_not_ours_shows_no_attempt_and_keeps_its_fields() {
    let fleet = Record::decode(br#"{"MachineID":"m","Version":3,"more":true}"#);
    assert_eq!(fleet.body.unknown["more"], Value::Bool(true));
    let (newer, damaged) = (br#"{"needs":9}"#, br#"{"needs":1,"index":-1}"#);
    for bytes in [&b"m"[..], b"\xff", b"{}", newer, damaged] {
        assert_eq!(Record::decode(bytes).attempt, None, "{bytes:?}");
    }
    // A version that fleet could not have written is none, so the whole is a bare machine id.
    for version in ["1.5", "18446744073709551615", "\"3\"", "[]"] {
        let json = format!(r#"{{"MachineID":"m","Version":{version}}}"#);
        let record = Record::decode(json.as_bytes());
        assert_eq!(record.body.machine_id, Some(json));
        assert_eq!(record.body.version, 0);
    }
}

#[test]
fn a_damaged_field_is_said() {
    let hex = "0123456789abcdef0123456789abcdef";
    let good = format!(r#"{{"needs":1,"attempt":"{hex}","index":{MAX_INDEX},"fence":1}}"#);
    let record = Record::decode(good.as_bytes());
    assert_eq!(record.attempt.unwrap().to_string(), hex);
    assert_eq!((record.index, record.fence), (Some(MAX_INDEX), Some(1)));
    for (field, value) in [
        ("attempt", format!("\"{}\"", &hex[1..])),
        ("attempt", format!("\"{hex}0\"")),
        ("attempt", format!("\"{}g\"", &hex[1..])),
        // 32 bytes, the middle of a letter among them where a byte's two digits end.
        ("attempt", format!("\"0é{}\"", &hex[3..])),
        ("index", (MAX_INDEX + 1).to_string()),
        ("fence", (MAX_INDEX + 1).to_string()),
        ("period", "-1".into()),
        ("since", "\"yesterday\"".into()),
        ("data", "\"?\"".into()),
        ("unconfirmed", "1".into()),
    ] {
        let json = format!(r#"{{"needs":1,"{field}":{value}}}"#);
        let record = Record::decode(json.as_bytes());
        assert!(record.is_held(), "{json}");
        let error = record.judged().unwrap_err().to_string();
        assert!(error.contains(field), "{json}: {error}");
    }
}

#[test]
fn lengths_are_rounded_up_to_microseconds() {
    let nanos = Duration::from_nanos;
    for (length, micros) in [
        (nanos(1), 1),
        (nanos(1000), 1),
        (nanos(1001), 2),
        (Duration::MAX, u64::MAX),
    ] {
        let mut record = full();
        record.wait = length;
        let json: Value = serde_json::from_slice(&record.encode()).unwrap();
        assert_eq!(json["wait"].as_u64(), Some(micros));
    }
    // None is not written: nothing is waited for.
    let mut record = full();
    (record.wait, record.hold) = (Duration::ZERO, Duration::ZERO);
    let json: Value = serde_json::from_slice(&record.encode()).unwrap();
    assert!(json.get("wait").is_none() && json.get("hold").is_none());
    assert_eq!(Record::decode(&record.encode()), record);
}
