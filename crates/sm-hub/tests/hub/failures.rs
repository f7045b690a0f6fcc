//! Failures say what to do, and leave nothing that a later run would take for good.

use std::fs;

use sm_hub::{Hub, HubError, HubSettings, Token};

use crate::scratch::{Scratch, bytes, name, pull};
use crate::stand_in::{Fault, StandIn};

#[test]
fn contents_with_a_wrong_checksum_are_an_error_and_are_gone() {
    for (is_large, file) in [(true, "m-Q4_0.gguf"), (false, "small-Q4_0.gguf")] {
        let (scratch, stand_in) = (Scratch::new("corrupt"), StandIn::start());
        if is_large {
            stand_in.large("a/b", file, bytes(1000));
        } else {
            stand_in.small("a/b", file, bytes(1000));
        }
        stand_in.fail(&[Fault::Corrupt]);
        let hub = scratch.hub(&stand_in);
        let error = pull(&hub, "a/b").unwrap_err();
        assert!(matches!(&error, HubError::Checksum { file: named, .. } if named == file), "{error}");
        assert_eq!(scratch.names("blobs"), [""; 0]);
        assert!(hub.find(&name("a/b")).is_err() && !scratch.folder().join("refs/main").exists());
        assert_eq!(fs::read(pull(&hub, "a/b").unwrap().path).unwrap(), bytes(1000));
    }
}

/// The message of pulling `model` with `token`.
fn refusal(stand_in: &StandIn, model: &str, token: Option<&str>) -> String {
    let scratch = Scratch::new("refusal");
    let mut settings = scratch.settings(stand_in);
    settings.token = token.map(|token| Token::new(token, "HF_TOKEN"));
    pull(&Hub::new(settings), model).unwrap_err().to_string()
}

#[test]
fn refusals_say_what_to_do() {
    let stand_in = StandIn::start();
    stand_in.large("a/b", "m-Q4_0.gguf", bytes(10)).gate("a/b", "right");
    stand_in.large("c/d", "m-Q4_0.gguf", bytes(20));
    let page = format!("{}/a/b", stand_in.endpoint);
    for (model, token, parts) in [
        ("a/b", None, &["a/b is gated", &page, "set HF_TOKEN"] as &[&str]),
        ("a/b", Some("wrong"), &["a/b is gated", &page, "the token given has no access"]),
        ("no/such", None, &["no model no/such", "private", "set HF_TOKEN"]),
        ("no/such", Some("x"), &["no model no/such", "a token that may read"]),
        ("c/d@v9", None, &["c/d has no revision \"v9\""]),
        ("c/d:Q8_0", None, &["c/d has no Q8_0", "it has Q4_0"]),
        ("c/d:x.gguf", None, &["c/d has no x.gguf", "it has Q4_0"]),
    ] {
        let message = refusal(&stand_in, model, token);
        assert!(parts.iter().all(|part| message.contains(part)), "{model}: {message}");
        assert!(!message.contains('\n'));
    }
    for (fault, token, parts) in [
        (Fault::Status(429, "retry-after: 3600\r\n"), None, &["3600 seconds", "HF_TOKEN"] as &[&str]),
        (Fault::Status(401, ""), Some("bad"), &["refuses the token from HF_TOKEN"]),
        (Fault::Status(451, "x-error-message: Disabled\r\n"), None, &["451", "(Disabled)"]),
        (Fault::Status(200, ""), None, &["no list of files", "is that a Hugging Face hub?"]),
        (Fault::Status(302, "location: file:///x\r\n"), None, &["a redirect to an address that is none"]),
    ] {
        stand_in.fail_listing(&[fault]);
        let message = refusal(&stand_in, "c/d", token);
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        assert!(!message.contains("bad"), "{message}");
    }
}

#[test]
fn a_busy_hub_is_asked_again_and_one_that_stays_away_is_given_up() {
    let (scratch, stand_in) = (Scratch::new("busy"), StandIn::start());
    stand_in.large("a/b", "m-Q4_0.gguf", bytes(10));
    let faults = [Fault::Status(429, "retry-after: 0\r\n"), Fault::Status(502, ""), Fault::Cut(3)];
    stand_in.fail_listing(&faults);
    stand_in.fail(&[Fault::Status(403, "")]);
    pull(&scratch.hub(&stand_in), "a/b").unwrap();
    stand_in.seen();
    stand_in.fail_listing(&[(); 9].map(|()| Fault::Status(500, "")));
    let error = pull(&scratch.hub(&stand_in), "a/b").unwrap_err();
    assert!(matches!(error, HubError::Status { status: 500, .. }), "{error}");
    assert_eq!(stand_in.seen().len(), 6);
}

#[test]
fn nobody_at_the_address_is_a_connection_that_fails() {
    let scratch = Scratch::new("nobody");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    let mut settings = HubSettings::new(&scratch.0, &address);
    settings.attempts = 2;
    settings.first_pause = std::time::Duration::ZERO;
    let error = pull(&Hub::new(settings), "a/b").unwrap_err().to_string();
    assert!(error.contains(&address) && error.contains("2 attempts"), "{error}");
}

#[test]
fn offline_nothing_is_connected_to() {
    let (scratch, stand_in) = (Scratch::new("offline"), StandIn::start());
    stand_in.large("a/b", "m-Q4_0.gguf", bytes(10));
    let path = pull(&scratch.hub(&stand_in), "a/b").unwrap().path;
    stand_in.seen();
    let mut settings = scratch.settings(&stand_in);
    settings.offline = true;
    let hub = Hub::new(settings);
    assert_eq!(hub.find(&name("a/b")).unwrap().path, path);
    let error = pull(&hub, "a/b:Q8_0").unwrap_err().to_string();
    assert!(error.contains("offline") && error.contains("a/b"), "{error}");
    assert!(stand_in.seen().is_empty());
}

#[test]
fn names_that_lead_out_of_the_folder_are_no_files() {
    let (scratch, stand_in) = (Scratch::new("hostile"), StandIn::start());
    for path in ["../../../evil-Q4_0.gguf", "/evil-Q4_0.gguf", "a/../../evil-Q4_0.gguf"] {
        stand_in.large("a/b", path, bytes(10));
    }
    let error = pull(&scratch.hub(&stand_in), "a/b").unwrap_err();
    assert!(matches!(error, HubError::NoModel { .. }), "{error}");
    stand_in.commit("a/b", "../../evil");
    let error = pull(&scratch.hub(&stand_in), "a/b").unwrap_err();
    assert!(matches!(error, HubError::Answer { .. }), "{error}");
}

#[test]
fn a_disk_that_is_too_small_is_an_error_before_anything_is_fetched() {
    let (scratch, stand_in) = (Scratch::new("space"), StandIn::start());
    stand_in.large("a/b", "m-Q4_0.gguf", bytes(10));
    let hub = scratch.hub(&stand_in);
    let mut plan = hub.plan(&name("a/b")).unwrap();
    plan.missing_bytes = u64::MAX;
    stand_in.seen();
    let error = hub.pull(&plan, &mut |_| ()).unwrap_err();
    assert!(matches!(error, HubError::Space { needed_bytes: u64::MAX, .. }), "{error}");
    assert!(stand_in.seen().is_empty());
}
