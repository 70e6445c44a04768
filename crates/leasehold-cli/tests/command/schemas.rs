//! The JSON output of every verb, held to docs/schema: a field that no schema knows, or that is not there, fails.

use serde_json::{Value, json};

use crate::support::{Registry, Running, json as parsed};

const LEASE: &str = include_str!("../../../../docs/schema/lease.json");
const PLAN: &str = include_str!("../../../../docs/schema/plan.json");
const REPORT: &str = include_str!("../../../../docs/schema/report.json");
const DOCTOR: &str = include_str!("../../../../docs/schema/doctor.json");
const MESSAGE: &str = include_str!("../../../../docs/schema/message.json");

/// The schema of a verb, as it is published, but without room for fields that it does not name. (Programs leave that
/// room: fields may come with any version.)
struct Schema(jsonschema::Validator);

impl Schema {
    fn new(mut document: Value) -> Self {
        document["unevaluatedProperties"] = false.into();
        let options = jsonschema::options().should_validate_formats(true);
        Self(options.build(&document).unwrap())
    }

    fn of_verb(verb: &str) -> Self {
        let document = parsed(LEASE);
        let mut definitions = document["$defs"].clone();
        assert!(definitions[verb].is_object(), "{verb}");
        for closed in ["get", "ended"] {
            definitions[closed]["unevaluatedProperties"] = false.into();
        }
        Self::new(json!({
            "$schema": document["$schema"],
            "$ref": format!("#/$defs/{verb}"),
            "$defs": definitions,
        }))
    }

    fn errors(&self, object: &Value) -> Vec<String> {
        let errors = self.0.iter_errors(object);
        errors.map(|error| error.to_string()).collect()
    }

    #[track_caller]
    fn fits(&self, object: &Value) {
        let errors = self.errors(object);
        assert!(errors.is_empty(), "{errors:#?}\n{object:#}");
    }
}

/// The objects that a line prints, each of which fits the schema of the verb.
#[track_caller]
fn objects(registry: &Registry, line: &str, code: i32) -> Vec<Value> {
    let verb = line.split(' ').next().unwrap();
    let done = registry.line(&format!("{line} --json")).exits(code);
    let objects: Vec<Value> = done.out.lines().map(parsed).collect();
    let schema = Schema::of_verb(verb);
    for object in &objects {
        schema.fits(object);
        published(object);
    }
    objects
}

#[track_caller]
fn object(registry: &Registry, line: &str, code: i32) -> Value {
    let [object] = <[Value; 1]>::try_from(objects(registry, line, code)).unwrap();
    object
}

/// It also fits the schema as it is published, which does not know the verb.
#[track_caller]
fn published(object: &Value) {
    let validator = jsonschema::validator_for(&parsed(LEASE)).unwrap();
    assert!(validator.is_valid(object), "{object:#}");
}

#[test]
fn what_verbs_tell_of_leases_fits_the_schema() {
    let registry = Registry::new();
    let absent = object(&registry, "get a/x", 1);
    assert!(absent["fence"].is_null());
    object(&registry, "check a/x --fence 7", 76);
    let line = "acquire a/x --period 1m --note hello --data there --lessee-version -3";
    let acquired = object(&registry, line, 0);
    assert_eq!(acquired["acquired"], true);
    let fence = &acquired["fence"];
    let busy = object(&registry, "acquire a/x", 75);
    assert_eq!(busy["acquired"], false);
    let held = object(&registry, "get a/x", 0);
    assert!(!held["since"].is_null() && !held["data_base64"].is_null());
    object(&registry, &format!("check a/x --fence {fence}"), 0);
    object(
        &registry,
        &format!("renew a/x --fence {fence} --period 1s"),
        0,
    );
    let stolen = object(&registry, "steal a/x --reason test --period 1s", 0);
    assert_eq!(stolen["stolen"], true);
    let broken = object(&registry, "break a/x --reason test", 0);
    assert_eq!(broken["ended"]["how"], "stolen");
    let tombstone = object(&registry, "get a/x", 1);
    assert_eq!(tombstone["ended"]["reason"], "test");
    let fence = object(&registry, "acquire a/x", 0)["fence"].clone();
    let released = object(&registry, &format!("release a/x --fence {fence}"), 0);
    assert_eq!(released["released"], true);
    object(&registry, "acquire a/y", 0);
    object(&registry, "acquire a/z", 0);
    registry.forge("a/z", &json!({"needs": 99}));
    let foreign = object(&registry, "get a/z", 0);
    assert!(!foreign["foreign"].is_null(), "{foreign}");
    object(&registry, "wait a/y --until held", 0);
    object(&registry, "wait a/y --timeout 50ms", 75);
    assert_eq!(objects(&registry, "list", 0).len(), 2);
    assert_eq!(objects(&registry, "list --all", 0).len(), 3);
}

#[test]
fn what_a_watch_tells_fits_the_schema() {
    let registry = Registry::new();
    registry.line("acquire a/x").exits(0);
    let schema = Schema::of_verb("watch");
    for line in [
        "watch a/x --json",
        "watch a/nobody --json",
        "watch --prefix a --json",
        "list --watch --json",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = registry.command(line.split(' '));
        command.stdout(writer);
        let running = Running::start_with(command);
        let mut first = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(reader), &mut first).unwrap();
        schema.fits(&parsed(&first));
        published(&parsed(&first));
        drop(running);
    }
}

#[test]
fn reports_fit_the_schema() {
    let registry = Registry::new();
    let schema = Schema::new(parsed(REPORT));
    let leasehold = env!("CARGO_BIN_EXE_leasehold");
    let mut outcomes = std::collections::BTreeSet::new();
    registry.line("acquire held").exits(0);
    for words in [
        "run x --report 3 -- sh -c 'exit 3'",
        "run x --report 3 --time-limit 100ms -- sleep 9",
        "run x --report 3 -- no-such-command",
        "run x --report 3 --once-per 1d -- true",
        "run x --report 3 --once-per 1d -- true",
        "run held --report 3 -- true",
    ] {
        let script = format!("{leasehold} {words} 3>report; cat report");
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", &script])
            .env("LEASEHOLD_STORE", registry.file())
            .current_dir(registry.folder.path());
        let report = parsed(&crate::support::done(shell).exits(0).out);
        schema.fits(&report);
        outcomes.insert(report["outcome"].as_str().unwrap().to_owned());
    }
    let expected = ["busy", "ended", "failed", "skipped", "timed out"].map(String::from);
    assert_eq!(outcomes, expected.into());
}

#[test]
fn what_doctor_finds_fits_the_schema() {
    let mut document = parsed(DOCTOR);
    document["properties"]["checks"]["items"]["unevaluatedProperties"] = false.into();
    let schema = Schema::new(document);
    let registry = Registry::new();
    let well = registry.line("doctor --json").exits(0);
    schema.fits(&parsed(&well.out));
    std::fs::write(registry.file(), "no database").unwrap();
    let ill = registry.line("doctor --json").exits(78);
    schema.fits(&parsed(&ill.out));
}

#[test]
fn plans_fit_the_schema() {
    let schema = Schema::new(parsed(PLAN));
    for line in ["plan", "plan --price 0.01 --leases 7 --period 1m"] {
        let done = Registry::new().line(&format!("{line} --json")).exits(0);
        schema.fits(&parsed(&done.out));
    }
}

#[test]
fn messages_fit_the_schema() {
    let registry = Registry::new();
    let own = Schema::new(parsed(MESSAGE));
    let validator = jsonschema::validator_for(&parsed(MESSAGE)).unwrap();
    let mut count = 0;
    for (line, code) in [
        ("acquire x --note hello --period 1h", 0),
        ("run x -- true", 75),
        ("-v run y -- true", 0),
        ("-vv list", 0),
        ("get none", 1),
        ("get y", 1),
        ("release x --fence 1", 76),
        ("plan --period 5ms", 64),
        ("run x true", 64),
        ("--store /proc/none/x get x", 69),
    ] {
        let done = registry
            .line(&format!("--log-format json {line}"))
            .exits(code);
        for message in done.err.lines().map(parsed) {
            assert!(validator.is_valid(&message), "{message:#}");
            // The command's own messages have no field that is not in the schema.
            if message["target"].is_null() {
                own.fits(&message);
            }
            count += 1;
        }
    }
    // One for each failure at least, and that the lease was granted.
    assert!(count >= 8, "{count}");
}

/// Where nothing is known a field is null, so all of them are required; but for messages, which tell what they know.
#[test]
fn the_schemas_are_schemas_and_require_what_they_name() {
    for text in [LEASE, PLAN, MESSAGE] {
        let document = parsed(text);
        jsonschema::draft202012::meta::validate(&document).unwrap();
        if text == MESSAGE {
            continue;
        }
        let definitions = document["$defs"].as_object().unwrap();
        for object in definitions.values().chain([&document]) {
            let Some(properties) = object["properties"].as_object() else {
                continue;
            };
            let mut required: Vec<&str> = object["required"]
                .as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap())
                .collect();
            required.sort_unstable();
            assert_eq!(required, properties.keys().collect::<Vec<_>>());
        }
    }
}

/// The tests above would fail if a verb told more, or less, than its schema says.
#[test]
fn a_field_too_many_or_too_few_is_noticed() {
    let registry = Registry::new();
    let acquired = object(&registry, "acquire x", 0);
    let fence = &acquired["fence"];
    let checked = object(&registry, &format!("check x --fence {fence}"), 0);
    let held = object(&registry, "get x", 0);
    let busy = object(&registry, "acquire x", 75);
    for (verb, object) in [
        ("acquire", acquired.clone()),
        ("acquire", busy),
        ("check", checked.clone()),
        ("get", held.clone()),
        ("list", held),
    ] {
        let schema = Schema::of_verb(verb);
        let mut more = object.clone();
        more["surprise"] = 1.into();
        assert!(!schema.errors(&more).is_empty(), "{verb}");
        for field in object.as_object().unwrap().keys() {
            let mut less = object.clone();
            less.as_object_mut().unwrap().remove(field);
            assert!(!schema.errors(&less).is_empty(), "{verb}: {field}");
        }
    }
    let mut nested = checked;
    nested["status"]["surprise"] = 1.into();
    assert!(!Schema::of_verb("check").errors(&nested).is_empty());
}
