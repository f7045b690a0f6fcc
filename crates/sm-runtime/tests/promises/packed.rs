//! Weights packed by an earlier load: the same tokens, sooner, whatever happened to the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sm_runtime::{
    DType, Device, Error, GenerationOptions, Generator, LoadError, LoadOptions, Loader, Threads,
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
