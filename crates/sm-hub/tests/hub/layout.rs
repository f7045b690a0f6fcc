//! The cache is laid out as Python's `huggingface_hub` does it.

use std::fs;
use std::path::Path;

use sm_hub::{Hub, HubError};

use crate::scratch::{Scratch, bytes, name, pull};
use crate::stand_in::{COMMIT, StandIn, git_hash, sha256};

#[test]
fn blobs_are_named_by_their_hashes_and_snapshots_link_to_them() {
    let (scratch, stand_in) = (Scratch::new("layout"), StandIn::start());
    let weights = bytes(70_000);
    stand_in.small("a/b", "config.json", "{}").small("a/b", "chat_template.jinja", "x");
    stand_in.large("a/b", "model.safetensors", &weights).small("a/b", "README.md", "#");
    let model = pull(&scratch.hub(&stand_in), "a/b").unwrap();
    let snapshot = scratch.folder().join("snapshots").join(COMMIT);
    assert_eq!((&model.path, model.size_bytes), (&snapshot, 70_003));
    assert_eq!(fs::read_to_string(scratch.folder().join("refs/main")).unwrap(), COMMIT);
    let mut blobs = vec![git_hash(b"{}"), git_hash(b"x"), sha256(&weights)];
    blobs.sort();
    assert_eq!(scratch.names("blobs"), blobs);
    let files = format!("snapshots/{COMMIT}");
    assert_eq!(scratch.names(&files), ["chat_template.jinja", "config.json", "model.safetensors"]);
    let link = fs::read_link(snapshot.join("config.json")).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(git_hash(b"{}")));
    assert_eq!(fs::read(snapshot.join("model.safetensors")).unwrap(), weights);
    assert!(
        fs::read_to_string(scratch.0.join("CACHEDIR.TAG"))
            .unwrap()
            .starts_with("Signature: 8a477f597d28d172")
    );
    let lock = scratch.0.join(".locks/models--a--b").join(format!("{}.lock", sha256(&weights)));
    assert!(lock.is_file());
}

#[test]
fn without_links_snapshots_hold_the_files() {
    let (scratch, stand_in) = (Scratch::new("copies"), StandIn::start());
    stand_in.large("a/b", "m-Q4_0.gguf", bytes(1000));
    let mut settings = scratch.settings(&stand_in);
    settings.links = false;
    let hub = Hub::new(settings);
    let model = pull(&hub, "a/b").unwrap();
    assert!(fs::symlink_metadata(&model.path).unwrap().is_file());
    assert_eq!(fs::read(&model.path).unwrap(), bytes(1000));
    assert_eq!(scratch.names("blobs"), [""; 0]);
    stand_in.seen();
    assert_eq!(pull(&hub, "a/b").unwrap().path, model.path);
    assert_eq!(stand_in.seen().len(), 1, "only the list is asked for");
}

#[test]
fn names_in_the_list_are_the_ones_that_find_the_model() {
    let (scratch, stand_in) = (Scratch::new("list"), StandIn::start());
    for (path, len) in [
        ("m-Q4_K_M.gguf", 10),
        ("m-Q8_0-00001-of-00002.gguf", 20),
        ("m-Q8_0-00002-of-00002.gguf", 30),
        ("other/x-Q4_K_M.gguf", 40),
        ("plain.gguf", 50),
    ] {
        stand_in.large("a/b", path, bytes(len));
    }
    stand_in.small("c/d", "config.json", "{}").large("c/d", "model.safetensors", bytes(60));
    let hub = scratch.hub(&stand_in);
    for model in ["a/b", "a/b:Q8_0", "a/b:x-Q4_K_M.gguf", "a/b:plain.gguf", "c/d"] {
        pull(&hub, model).unwrap();
    }
    let listed = hub.contents().unwrap().models;
    let names: Vec<_> = listed.iter().map(|model| (model.name.to_string(), model.size_bytes)).collect();
    let expected = [
        ("a/b:Q4_K_M", 10),
        ("a/b:Q8_0", 50),
        ("a/b:other/x-Q4_K_M.gguf", 40),
        ("a/b:plain.gguf", 50),
        ("c/d", 62),
    ];
    assert_eq!(names, expected.map(|(name, size)| (name.to_owned(), size)));
    for model in &listed {
        assert_eq!(hub.find(&model.name).unwrap().path, model.path);
    }
}

#[test]
fn a_model_stays_findable_when_its_branch_moves_on() {
    let (scratch, stand_in) = (Scratch::new("moved"), StandIn::start());
    stand_in.large("a/b", "m-Q4_0.gguf", bytes(10)).large("a/b", "m-Q8_0.gguf", bytes(20));
    let hub = scratch.hub(&stand_in);
    let old = pull(&hub, "a/b:Q4_0").unwrap();
    let next = "f".repeat(40);
    stand_in.commit("a/b", &next);
    let new = pull(&hub, "a/b:Q8_0").unwrap();
    assert_eq!((hub.find(&name("a/b:Q4_0")).unwrap().path, &new.commit), (old.path.clone(), &next));
    // The same contents are not fetched again.
    stand_in.seen();
    assert_eq!(pull(&hub, "a/b:Q4_0").unwrap().commit, next);
    assert!(stand_in.seen().iter().all(|seen| seen.path.starts_with("/api/")));
    // Both commits have it; each name in the list leads to its own.
    let listed = hub.contents().unwrap().models;
    let names: Vec<String> = listed.iter().map(|model| model.name.to_string()).collect();
    assert_eq!(names, ["a/b:Q4_0".to_owned(), "a/b:Q8_0".to_owned(), format!("a/b:Q4_0@{COMMIT}")]);
}

#[test]
fn removing_a_model_leaves_what_others_need() {
    let (scratch, stand_in) = (Scratch::new("remove"), StandIn::start());
    stand_in.large("a/b", "m-Q4_0.gguf", bytes(1000)).large("a/b", "m-Q8_0.gguf", bytes(2000));
    stand_in.large("a/b", "copy/m-F16.gguf", bytes(1000));
    let hub = scratch.hub(&stand_in);
    for model in ["a/b:Q4_0", "a/b:Q8_0", "a/b:F16"] {
        pull(&hub, model).unwrap();
    }
    assert_eq!(scratch.names("blobs").len(), 2);
    assert!(hub.remove(&name("a/b:Q4_0")).unwrap().freed_bytes < 1000, "another file has the same contents");
    assert!(hub.find(&name("a/b:Q4_0")).is_err() && hub.find(&name("a/b:F16")).is_ok());
    assert!(hub.remove(&name("a/b:F16")).unwrap().freed_bytes >= 1000);
    assert_eq!(scratch.names("blobs"), [sha256(&bytes(2000))]);
    assert!(!scratch.folder().join("snapshots").join(COMMIT).join("copy").exists());
    hub.remove(&name("a/b:Q8_0")).unwrap();
    assert!(!scratch.folder().exists());
    for model in ["a/b", "a/b:Q8_0", "a/b@main"] {
        assert!(matches!(hub.remove(&name(model)), Err(HubError::NotCached { .. })), "{model}");
    }
}
