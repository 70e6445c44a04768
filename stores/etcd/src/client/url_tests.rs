use super::*;

fn read(url: &str) -> Result<Config> {
    Config::read(url, |_| None)
}

#[test]
fn urls_are_read_as_documented() {
    let config = read("etcd://one,two:1234,[::1]:5,[::2]/my/leases/").unwrap();
    assert_eq!(
        config.endpoints,
        ["one:2379", "two:1234", "[::1]:5", "[::2]:2379"]
    );
    assert_eq!(config.prefix, "/my/leases");
    assert!(config.user.is_none() && config.tls.is_none());
    assert_eq!(
        config.location(),
        "etcd://one:2379,two:1234,[::1]:5,[::2]:2379/my/leases"
    );

    let config = read("etcds://me:p%40ss@host?ca=/ca.pem&cert=c&key=k&server-name=n").unwrap();
    assert_eq!(config.prefix, "/leasehold");
    let user = config.user.as_ref().unwrap();
    assert_eq!((user.name.as_str(), user.password.reveal()), ("me", "p@ss"));
    let tls = config.tls.as_ref().unwrap();
    assert_eq!(tls.ca.as_deref(), Some("/ca.pem".as_ref()));
    assert_eq!(tls.identity, Some(("c".into(), "k".into())));
    assert_eq!(tls.server_name.as_deref(), Some("n"));
    for text in [format!("{config:?}"), config.location()] {
        assert!(!text.contains("p@ss"), "{text}");
    }
}

#[test]
fn credentials_come_from_files_and_the_environment_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "s3cret\n").unwrap();
    let config = read(&format!("etcd://me@host?password-file={}", path.display())).unwrap();
    assert_eq!(config.user.unwrap().password.reveal(), "s3cret");
    // A device that never ends would be read for ever.
    let error = read("etcd://me@host?password-file=/dev/zero").unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");

    let env = |name: &str| match name {
        "LEASEHOLD_ETCD_USER" => Some("env".to_owned()),
        "LEASEHOLD_ETCD_PASSWORD" => Some("word".to_owned()),
        _ => None,
    };
    let user = Config::read("etcd://host", env).unwrap().user.unwrap();
    assert_eq!(
        (user.name.as_str(), user.password.reveal()),
        ("env", "word")
    );
    let user = Config::read("etcd://me@host", env).unwrap().user.unwrap();
    assert_eq!((user.name.as_str(), user.password.reveal()), ("me", "word"));
}

#[test]
fn what_is_no_url_is_refused_without_showing_it() {
    for (url, reason) in [
        ("etcd:s3cret", "begins with neither"),
        ("http://s3cret", "begins with neither"),
        ("etcd://", "no host:port"),
        ("etcd://s3cret:x@", "no host:port"),
        ("etcd://s3cret host", "no host:port"),
        ("etcd://one,,two", "no host:port"),
        ("etcd://host:s3cret", "no number"),
        ("etcd://host:70000", "no number"),
        ("etcd://[::1]s3cret", "no host:port"),
        ("etcd://[s3cret]:1", "no host:port"),
        ("etcd://[::1:1", "no host:port"),
        ("etcd://host:1:2", "no number"),
        ("etcd://host?s3cret=1", "not known"),
        ("etcd://host?ca=s3cret", "etcds://"),
        ("etcd://host?cert=s3cret&key=s3cret", "etcds://"),
        ("etcds://host?cert=s3cret", "go together"),
        ("etcds://host?ca", "no value"),
        ("etcd://s3cret@host", "no password"),
        ("etcd://user:12/s3cret@host", "%2F"),
        ("etcd://user:12?s3cret@host", "%3F"),
        ("etcd://host/%ff?s3cret", "no UTF-8"),
    ] {
        let error = read(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(reason), "{url}: {text}");
        assert!(!text.contains("s3cret"), "{url}: {text}");
    }
}
