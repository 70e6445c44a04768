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
        unconfirmed: true,
        ended: Some(Ended {
            how: EndedHow::Broken,
            by: Some("op".into()),
            reason: Some("stuck".into()),
            fence: Some(7),
        }),
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
