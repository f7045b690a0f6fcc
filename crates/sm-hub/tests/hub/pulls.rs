//! What is fetched, from where, and how often.

use std::fs;
use std::sync::mpsc;
use std::thread;

use sm_hub::{Hub, HubError, Token};

use crate::scratch::{Scratch, bytes, name, pull};
use crate::stand_in::{COMMIT, Fault, StandIn, git_hash, sha256};

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let (scratch, stand_in) = (Scratch::new("token"), StandIn::start());
    stand_in.large("a/b", "m-Q4_0.gguf", bytes(5000)).gate("a/b", "hf_secret");
    let mut settings = scratch.settings(&stand_in);
    settings.token = Some(Token::new("hf_secret", "HF_TOKEN"));
    pull(&Hub::new(settings), "a/b").unwrap();
    let seen = stand_in.seen();
    assert_eq!(seen.len(), 3, "{seen:?}");
    for request in seen {
        let expected = request.by_hub.then(|| "Bearer hf_secret".to_owned());
        assert_eq!(request.authorization, expected, "{}", request.path);
    }
}

#[test]
fn a_split_model_is_all_its_parts() {
    let (scratch, stand_in) = (Scratch::new("split"), StandIn::start());
    stand_in.large("a/b", "q/m-Q2_K-00001-of-00002.gguf", bytes(10));
    stand_in.large("a/b", "q/m-Q2_K-00002-of-00002.gguf", bytes(20));
    let hub = scratch.hub(&stand_in);
    let model = pull(&hub, "a/b:q2_k").unwrap();
    assert!(model.path.ends_with("q/m-Q2_K-00001-of-00002.gguf"));
    assert_eq!(model.size_bytes, 30);
    // A model with a part missing is none.
    fs::remove_file(model.path.with_file_name("m-Q2_K-00002-of-00002.gguf")).unwrap();
    let error = hub.find(&name("a/b:q2_k")).unwrap_err();
    assert!(matches!(error, HubError::NotCached { .. }), "{error}");
}

#[test]
fn the_index_says_which_safetensors_are_fetched() {
    let (scratch, stand_in) = (Scratch::new("index"), StandIn::start());
    let index = r#"{"weight_map": {"x": "model-1.safetensors", "y": "model-2.safetensors"}}"#;
    stand_in.small("a/b", "config.json", "{}").small("a/b", "model.safetensors.index.json", index);
    for file in ["consolidated.safetensors", "model-1.safetensors", "model-2.safetensors"] {
        stand_in.large("a/b", file, file);
    }
    let hub = scratch.hub(&stand_in);
    let plan = hub.plan(&name("a/b")).unwrap();
    assert_eq!((plan.total_bytes, plan.missing_bytes), (2 + 38 + index.len() as u64, 2 + 38));
    let model = hub.pull(&plan, &mut |_| ()).unwrap();
    assert!(!model.path.join("consolidated.safetensors").exists());
    assert_eq!(hub.find(&name("a/b")).unwrap().size_bytes, plan.total_bytes);
    fs::remove_file(model.path.join("model-2.safetensors")).unwrap();
    assert!(hub.find(&name("a/b")).is_err());
}

#[test]
fn mirrors_that_list_no_checksums_are_asked_for_each_file() {
    let (scratch, stand_in) = (Scratch::new("mirror"), StandIn::start());
    stand_in.small("a/b", "config.json", "{}").large("a/b", "model.safetensors", bytes(99)).hide_blobs();
    pull(&scratch.hub(&stand_in), "a/b").unwrap();
    let mut blobs = vec![git_hash(b"{}"), sha256(&bytes(99))];
    blobs.sort();
    assert_eq!(scratch.names("blobs"), blobs);
    assert_eq!(stand_in.seen().iter().filter(|seen| seen.method == "HEAD").count(), 2);
}

#[test]
fn renamed_repositories_odd_names_and_other_revisions_work() {
    let (scratch, stand_in) = (Scratch::new("renamed"), StandIn::start());
    stand_in.large("new/b", "ä (1)/m #2-Q4_0.gguf", bytes(99)).rename("a/b", "new/b");
    let hub = scratch.hub(&stand_in);
    let model = pull(&hub, "a/b@refs/pr/1").unwrap();
    assert_eq!(fs::read(&model.path).unwrap(), bytes(99));
    assert_eq!(fs::read_to_string(scratch.folder().join("refs/refs/pr/1")).unwrap(), COMMIT);
    assert_eq!(hub.find(&name("a/b:q4_0@refs/pr/1")).unwrap().path, model.path);
    assert_eq!(hub.find(&name(&format!("a/b@{COMMIT}"))).unwrap().path, model.path);
}

#[test]
fn a_cut_connection_goes_on_where_it_ended() {
    let (scratch, stand_in) = (Scratch::new("cut"), StandIn::start());
    let contents = bytes(3_000_000);
    stand_in.large("a/b", "m-Q4_0.gguf", &contents);
    stand_in.fail(&[Fault::Cut(1_000_000), Fault::Silence(500_000), Fault::Cut(0), Fault::Status(503, "")]);
    let hub = scratch.hub(&stand_in);
    let mut last = 0;
    let plan = hub.plan(&name("a/b")).unwrap();
    let model = hub.pull(&plan, &mut |progress| {
        assert!(progress.done_bytes >= last && progress.total_bytes == 3_000_000);
        last = progress.done_bytes;
    });
    assert_eq!(fs::read(model.unwrap().path).unwrap(), contents);
    assert_eq!(last, 3_000_000);
    let seen = stand_in.seen();
    let ranges: Vec<_> =
        seen.iter().filter(|s| !s.by_hub).map(|s| s.range.clone().unwrap_or_default()).collect();
    let expected = ["", "bytes=1000000-", "bytes=1500000-", "bytes=1500000-", "bytes=1500000-"];
    assert_eq!(ranges, expected);
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_ended() {
    let (scratch, stand_in) = (Scratch::new("resume"), StandIn::start());
    let contents = bytes(400_000);
    stand_in.large("a/b", "m-Q4_0.gguf", &contents);
    let mut settings = scratch.settings(&stand_in);
    settings.attempts = 1;
    stand_in.fail(&[Fault::Cut(150_000)]);
    let error = pull(&Hub::new(settings), "a/b").unwrap_err();
    assert!(matches!(error, HubError::Connection { .. }), "{error}");
    let hub = scratch.hub(&stand_in);
    assert_eq!(hub.contents().unwrap().incomplete, [("a/b".to_owned(), 150_000)]);
    assert!(hub.find(&name("a/b")).is_err());
    let plan = hub.plan(&name("a/b")).unwrap();
    assert_eq!((plan.total_bytes, plan.missing_bytes), (400_000, 250_000));
    assert_eq!(fs::read(hub.pull(&plan, &mut |_| ()).unwrap().path).unwrap(), contents);
    assert_eq!(stand_in.seen().last().unwrap().range.as_deref(), Some("bytes=150000-"));
    assert_eq!(scratch.names("blobs"), [sha256(&contents)]);
}

#[test]
fn hosts_that_ignore_ranges_or_mistake_them_spoil_nothing() {
    let contents = bytes(400_000);
    for (fault, is_found) in [(Fault::Whole, true), (Fault::OtherRange, false)] {
        let (scratch, stand_in) = (Scratch::new("ranges"), StandIn::start());
        stand_in.large("a/b", "m-Q4_0.gguf", &contents).fail(&[Fault::Cut(150_000), fault]);
        match pull(&scratch.hub(&stand_in), "a/b") {
            Ok(model) => assert!(is_found && fs::read(model.path).unwrap() == contents),
            Err(error) => assert!(!is_found && matches!(error, HubError::Answer { .. }), "{error}"),
        }
    }
}

#[test]
fn what_an_earlier_run_left_wrong_is_fetched_again() {
    let (scratch, stand_in) = (Scratch::new("stale"), StandIn::start());
    let contents = bytes(1000);
    stand_in.large("a/b", "m-Q4_0.gguf", &contents);
    let hub = scratch.hub(&stand_in);
    let blobs = scratch.folder().join("blobs");
    let blob = blobs.join(sha256(&contents));
    let incomplete = blob.with_extension("incomplete");
    for left in [vec![7; 500], vec![7; 1000], vec![7; 2000], contents[..400].to_vec(), contents.clone()] {
        let _ = fs::remove_dir_all(scratch.folder());
        fs::create_dir_all(&blobs).unwrap();
        fs::write(&incomplete, &left).unwrap();
        let model = pull(&hub, "a/b").unwrap();
        assert_eq!(fs::read(model.path).unwrap(), contents);
        assert_eq!(scratch.names("blobs"), [sha256(&contents)]);
    }
    // A blob that a full disk cut short.
    fs::write(&blob, &contents[..10]).unwrap();
    assert_eq!(fs::read(pull(&hub, "a/b").unwrap().path).unwrap(), contents);
}

#[test]
fn two_that_want_the_same_file_fetch_it_once() {
    let (scratch, stand_in) = (Scratch::new("twice"), StandIn::start());
    let contents = bytes(2_000_000);
    stand_in.large("a/b", "m-Q4_0.gguf", &contents).slow(10_000);
    let hubs = [scratch.hub(&stand_in), scratch.hub(&stand_in), scratch.hub(&stand_in)];
    thread::scope(|scope| {
        for hub in &hubs {
            scope.spawn(|| assert_eq!(fs::read(pull(hub, "a/b").unwrap().path).unwrap(), contents));
        }
    });
    assert_eq!(stand_in.seen().iter().filter(|seen| !seen.by_hub).count(), 1);
}

#[test]
fn cancelling_ends_a_silent_download_at_once_and_keeps_what_is_there() {
    let (scratch, stand_in) = (Scratch::new("cancel"), StandIn::start());
    let contents = bytes(400_000);
    stand_in.large("a/b", "m-Q4_0.gguf", &contents).fail(&[Fault::Silence(100_000)]);
    let mut settings = scratch.settings(&stand_in);
    settings.max_silence = std::time::Duration::from_secs(50);
    let hub = Hub::new(settings);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let cancel = hub.cancel().clone();
        scope.spawn(move || {
            while receiver.recv().unwrap() < 100_000 {}
            cancel.cancel();
        });
        let plan = hub.plan(&name("a/b")).unwrap();
        let error = hub.pull(&plan, &mut |progress| _ = sender.send(progress.done_bytes)).unwrap_err();
        assert!(matches!(error, HubError::Cancelled), "{error}");
    });
    let model = pull(&scratch.hub(&stand_in), "a/b").unwrap();
    assert_eq!(fs::read(model.path).unwrap(), contents);
    assert_eq!(stand_in.seen().last().unwrap().range.as_deref(), Some("bytes=100000-"));
}
