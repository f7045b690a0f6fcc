//! Weights packed by an earlier load: the same tokens, sooner, whatever happened to the file.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use sm_runtime::plan::ExecError;
use sm_runtime::{
    DType, Device, Engine, EngineConfig, Error, GenerationOptions, Generator, LoadError, LoadOptions, Loader,
    Progress, Threads,
};

/// A directory with a model of the demo's, and one for packed weights.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("sm-packed-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let place = Self(root);
        place.put("demo.gguf");
        place
    }

    /// Makes the model another one.
    fn put(&self, name: &str) {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sm-demo-model").join(name);
        fs::copy(demo, self.model()).unwrap();
    }

    fn model(&self) -> PathBuf {
        self.0.join("model.gguf")
    }

    fn options(&self) -> LoadOptions {
        Self::unpacked_options().packed_dir(self.0.join("packed"))
    }

    fn unpacked_options() -> LoadOptions {
        LoadOptions::new().device(Device::Cpu { isa: None, threads: Threads::Exactly(2) })
    }

    /// The files of packed weights.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join("packed")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn file(&self) -> PathBuf {
        let [file] = &self.files()[..] else { panic!("one file, not {:?}", self.files()) };
        file.clone()
    }

    /// What the model says, and whether it was packed for that.
    fn run(&self, options: &LoadOptions) -> (String, bool) {
        let n_reports = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&n_reports);
        let count = move |_| _ = counted.fetch_add(1, Ordering::Relaxed);
        let model = Loader::new(self.model()).options(options.clone()).progress(count).load().unwrap();
        let mut generator = Generator::new(model).unwrap();
        let completion = generator.generate(&"Once upon".into(), &GenerationOptions::new().seed(5)).unwrap();
        (completion.text, n_reports.load(Ordering::Relaxed) > 0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_second_loading_maps_what_the_first_has_packed() {
    let place = Place::new("again");
    let plain = place.run(&Place::unpacked_options());
    assert_eq!(place.run(&place.options()), plain, "the first packs");
    let kept = fs::read(place.file()).unwrap();
    for n_threads in 1..=3 {
        let options = place.options().device(Device::Cpu { isa: None, threads: Threads::Exactly(n_threads) });
        assert_eq!(place.run(&options), (plain.0.clone(), false));
    }
    let scalar = place.options().device("cpu:scalar:2".parse().unwrap());
    assert_eq!(place.run(&scalar), (plain.0, false), "the form is that of every instruction set");
    assert_eq!(fs::read(place.file()).unwrap(), kept);
}

#[test]
fn a_damaged_file_costs_a_packing_and_no_token() {
    let place = Place::new("damaged");
    let (text, _) = place.run(&place.options());
    let whole = fs::read(place.file()).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 16;
        bytes
    };
    let header = 64 << 10;
    for damaged in [
        flipped(3),
        flipped(20),
        flipped(50),
        flipped(header + 1),
        flipped(whole.len() - 1),
        whole[..whole.len() - 1].to_vec(),
        whole[..10].to_vec(),
        Vec::new(),
    ] {
        fs::write(place.file(), &damaged).unwrap();
        assert_eq!(place.run(&place.options()), (text.clone(), true), "{} bytes", damaged.len());
        assert_eq!(fs::read(place.file()).unwrap(), whole, "it is whole again");
    }
}

#[test]
fn another_model_or_format_is_not_taken_for_the_one_that_was_packed() {
    let place = Place::new("other");
    let (demo, _) = place.run(&place.options());
    place.put("draft.gguf");
    let (draft, is_packed) = place.run(&place.options());
    assert!(is_packed && draft != demo);
    assert_eq!(place.run(&place.options()), (draft, false));
    let quantized = place.options().quant(DType::Q4_0);
    assert!(place.run(&quantized).1 && !place.run(&quantized).1);
    assert_eq!(place.files().len(), 2, "a file for each format, none for what is gone");
}

#[cfg(unix)]
#[test]
fn a_file_that_changes_while_it_is_in_use_is_an_error_that_names_it_and_nothing_else_is_lost() {
    let place = Place::new("changed");
    let (text, _) = place.run(&place.options());
    let load = |options: LoadOptions| Loader::new(place.model()).options(options).load().unwrap();
    type Change = (&'static str, fn(&Path));
    let changes: [Change; 2] = [
        ("was cut from", |path| File::options().write(true).open(path).unwrap().set_len(70_000).unwrap()),
        ("was written to", |path| {
            let mut file = File::options().write(true).open(path).unwrap();
            file.seek(SeekFrom::End(-5000)).unwrap();
            file.write_all(&[3; 200]).unwrap();
        }),
    ];
    for (expected, change) in changes {
        let mut own = Generator::new(load(Place::unpacked_options())).unwrap();
        let mapped = load(place.options());
        let mut generator = Generator::new(mapped.clone()).unwrap();
        let engine = Engine::start(mapped, EngineConfig::new()).unwrap();
        let answer = |generator: &mut Generator| {
            generator.reset();
            generator.generate(&"Once upon".into(), &GenerationOptions::new().seed(5))
        };
        assert_eq!(answer(&mut generator).unwrap().text, text);
        change(&place.file());
        let name = place.file().display().to_string();
        let is_right = |error: &Error| {
            let message = error.to_string();
            matches!(error, Error::Exec(ExecError::WeightsLost { .. }))
                && message.contains(&name)
                && message.contains(expected)
        };
        let error = answer(&mut generator).unwrap_err();
        assert!(is_right(&error), "{error}");
        for _ in 0..2 {
            let error = engine.generate("Once upon".into(), &GenerationOptions::new()).unwrap_err();
            assert!(is_right(&error), "{error}");
        }
        assert_eq!(answer(&mut own).unwrap().text, text);
        assert_eq!(place.run(&place.options()), (text.clone(), true), "packed again");
    }
}

#[cfg(unix)]
#[test]
fn files_are_for_their_user_alone_and_what_killed_runs_left_is_removed() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new("left");
    place.run(&place.options());
    let file = place.file();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::copy(&file, file.with_extension("packed.4711")).unwrap();
    fs::write(file.with_extension("packed.12-0"), "half").unwrap();
    assert_eq!(place.files().len(), 3);
    assert!(!place.run(&place.options()).1);
    assert_eq!(place.files().len(), 1);
}

#[test]
fn a_model_that_is_replaced_while_it_is_loaded_is_an_error_and_leaves_nothing() {
    let place = Place::new("replaced");
    let path = place.model();
    let replace = move |progress: Progress| {
        if progress.done_bytes > 0 {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
    };
    let loader = Loader::new(place.model()).options(place.options().fingerprint(true)).progress(replace);
    let error = loader.load().unwrap_err().to_string();
    assert!(error.contains("model.gguf changed while the model was loaded"), "{error}");
    assert!(place.files().is_empty());
}

#[test]
fn a_directory_that_cannot_be_is_an_error_that_names_it() {
    let place = Place::new("refused");
    let options = place.options().packed_dir(place.model());
    match Loader::new(place.model()).options(options).load() {
        Err(error @ Error::Load(LoadError::PackedDir { .. })) => {
            assert!(error.to_string().contains("model.gguf"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
