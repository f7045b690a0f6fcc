//! Files that the program writes for itself and reads again: whatever is in them, no other token comes out.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use sm_runtime::{
    Device, Engine, EngineConfig, GenerationOptions, Generator, KvDiskConfig, LoadOptions, LoadedModel,
    Loader, TokenId,
};

use crate::folder::Folder;
use crate::seeds::root;

/// More than two pages.
const PROMPT: &str = "One day a little girl named Lily went to the park with her mom and her dog, and they saw a big \
                      red ball under the old tree near the pond.";

fn load(options: LoadOptions) -> LoadedModel {
    let path = root().join("crates/sm-demo-model/draft.gguf");
    let options = options.device(Device::cpu_threads(1)).context_len(128);
    Loader::new(path).options(options).load().expect("the draft model")
}

fn options() -> GenerationOptions {
    GenerationOptions::greedy().max_new_tokens(3)
}

/// Packed weights of the draft model.
struct Packed {
    folder: Folder,
    file: PathBuf,
    expected: Vec<TokenId>,
}

impl Packed {
    fn new() -> Self {
        let folder = Folder::new("packed");
        let expected = Self::answer(&folder);
        let files = fs::read_dir(folder.path()).expect("the folder of packed weights");
        let file = files.flatten().next().expect("a file of packed weights").path();
        Self { folder, file, expected }
    }

    fn answer(folder: &Folder) -> Vec<TokenId> {
        let mut generator =
            Generator::new(load(LoadOptions::new().packed_dir(folder.path()))).expect("a generator");
        generator.generate(&PROMPT.into(), &options()).expect("an answer").tokens
    }
}

/// Pages of the draft model.
struct Pages {
    folder: Folder,
    model: LoadedModel,
    expected: Vec<TokenId>,
}

impl Pages {
    fn new() -> Self {
        let folder = Folder::new("pages");
        let model = load(LoadOptions::new().fingerprint(true));
        let expected = Self::answer(&folder, &model);
        Self { folder, model, expected }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("smallmind-kv.pages")
    }

    fn answer(folder: &Folder, model: &LoadedModel) -> Vec<TokenId> {
        // Small, so that an engine is quickly started.
        let mut config = EngineConfig::new().kv_disk(KvDiskConfig::new(folder.path(), 1 << 20));
        config.batching.max_batch_size = 1;
        config.batching.max_step_tokens = 64;
        let engine = Engine::start(model.clone(), config).expect("an engine");
        let completion = engine.generate(PROMPT.into(), &options()).expect("an answer");
        engine.shut_down(Duration::from_secs(60)).expect("pages are stored");
        completion.tokens
    }
}

thread_local! {
    // Their folders go with the thread.
    static PACKED: Packed = Packed::new();
    static PAGES: Pages = Pages::new();
}

/// What a load writes.
pub(crate) fn packed_weights() -> Vec<Vec<u8>> {
    PACKED.with(|packed| vec![fs::read(&packed.file).expect("packed weights")])
}

/// What an engine writes.
pub(crate) fn pages() -> Vec<Vec<u8>> {
    PAGES.with(|pages| vec![fs::read(pages.file()).expect("pages")])
}

/// Packed weights: they are read, or packed again.
pub(crate) fn packed(bytes: &[u8]) -> bool {
    PACKED.with(|packed| {
        fs::write(&packed.file, bytes).expect("a file in the temporary folder");
        assert_eq!(Packed::answer(&packed.folder), packed.expected);
    });
    true
}

/// Pages of the KV cache: they are read, or computed again.
pub(crate) fn kv_disk(bytes: &[u8]) -> bool {
    PAGES.with(|pages| {
        fs::write(pages.file(), bytes).expect("a file in the temporary folder");
        assert_eq!(Pages::answer(&pages.folder, &pages.model), pages.expected);
    });
    true
}
