//! Weights that were packed by an earlier loading: the same tokens, sooner, whatever has become of the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use sm_runtime::{
    DType, Error, GenerationOptions, Generator, LoadError, LoadOptions, LoadedModel, Prompt, SamplingOptions,
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
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo").join(name);
        fs::copy(demo, self.model()).unwrap();
    }

    fn model(&self) -> PathBuf {
        self.0.join("model.gguf")
    }

    fn options(&self) -> LoadOptions {
        LoadOptions { packed_dir: Some(self.0.join("packed")), n_threads: Some(2), ..LoadOptions::default() }
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
        let n_reports = AtomicUsize::new(0);
        let count = |_| _ = n_reports.fetch_add(1, Ordering::Relaxed);
        let model = LoadedModel::load(self.model().as_path(), options, &count).unwrap();
        let sampling = SamplingOptions { seed: Some(5), ..SamplingOptions::default() };
        let options = GenerationOptions { sampling, ..GenerationOptions::default() };
        let text = Generator::new(model).generate(&Prompt::Text("Once upon".into()), &options).unwrap().text;
        (text, n_reports.into_inner() > 0)
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
    let plain = place.run(&LoadOptions { packed_dir: None, ..place.options() });
    assert_eq!(place.run(&place.options()), plain, "the first packs");
    let kept = fs::read(place.file()).unwrap();
    for n_threads in 1..=3 {
        let options = LoadOptions { n_threads: Some(n_threads), ..place.options() };
        assert_eq!(place.run(&options), (plain.0.clone(), false));
    }
    let scalar = LoadOptions { isa: Some("scalar".into()), ..place.options() };
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
    let quantized = LoadOptions { quant: Some(DType::Q4_0), ..place.options() };
    assert!(place.run(&quantized).1 && !place.run(&quantized).1);
    assert_eq!(place.files().len(), 2, "a file for each format, none for what is gone");
}

#[test]
fn a_directory_that_cannot_be_is_an_error_that_names_it() {
    let place = Place::new("refused");
    let options = LoadOptions { packed_dir: Some(place.model()), ..place.options() };
    match LoadedModel::load(place.model().as_path(), &options, &|_| ()) {
        Err(error @ Error::Load(LoadError::PackedDir { .. })) => {
            assert!(error.to_string().contains("model.gguf"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
