//! A hub and a cache: what is to be fetched for a model, and fetching it.

use crate::cache::Cache;
use crate::cache::local::{Found, MAIN};
use crate::cache::models::{CacheContents, CachedModel};
use crate::cache::removal::Removed;
use crate::cancel::Cancel;
use crate::download::{Job, Means};
use crate::error::HubError;
use crate::http::{Http, Subject};
use crate::reference::HubRef;
use crate::repository::{Contents, Repository, address};
use crate::selection::{INDEX, Selection, select};
use crate::settings::HubSettings;

/// A hub and the cache for what comes from it.
#[derive(Debug)]
pub struct Hub {
    settings: HubSettings,
    cache: Cache,
    http: Http,
    cancel: Cancel,
}

/// What [`Hub::pull`] fetches.
#[derive(Clone, Debug)]
pub struct Plan {
    model: HubRef,
    revision: String,
    commit: String,
    selection: Selection,
    files: Vec<(String, Contents)>,
    /// Bytes of all files.
    pub total_bytes: u64,
    /// Bytes that are not in the cache yet.
    pub missing_bytes: u64,
}

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// The file that is being fetched.
    pub file: &'a str,
    /// Bytes of all files that are there.
    pub done_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

impl Plan {
    /// The paths of the files in the repository.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(path, _)| path.as_str())
    }
}

impl Hub {
    /// A hub. Nothing is connected to until something is to be fetched.
    pub fn new(settings: HubSettings) -> Self {
        let cancel = Cancel::new();
        let cache = Cache { root: settings.cache.clone(), links: settings.links };
        let http = Http::new(settings.clone(), cancel.clone());
        Self { settings, cache, http, cancel }
    }

    /// The settings.
    pub fn settings(&self) -> &HubSettings {
        &self.settings
    }

    /// What ends the downloads of this hub.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Finds a whole model in the cache, without a network.
    ///
    /// # Errors
    /// [`HubError::NotCached`].
    pub fn find(&self, model: &HubRef) -> Result<CachedModel, HubError> {
        Ok(CachedModel::new(model.clone(), self.cache.find(model)?))
    }

    /// Lists the cache.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn contents(&self) -> Result<CacheContents, HubError> {
        self.cache.contents()
    }

    /// Removes a model from the cache: one quantization, one revision, or everything of the repository.
    ///
    /// # Errors
    /// If there is none, or it cannot be removed.
    pub fn remove(&self, model: &HubRef) -> Result<Removed, HubError> {
        self.cache.remove(model)
    }

    /// Asks the hub what makes up the model. Only the list of the files of a split model is fetched.
    ///
    /// # Errors
    /// If the hub cannot be reached, refuses, or has no such model.
    pub fn plan(&self, model: &HubRef) -> Result<Plan, HubError> {
        if self.settings.offline {
            let endpoint = self.settings.endpoint.clone();
            return Err(HubError::Offline { repo: model.repo().to_owned(), endpoint });
        }
        let revision = model.revision().unwrap_or(MAIN);
        let repository = Repository::list(&self.http, &self.subject(model, revision, None))?;
        let paths: Vec<&str> = repository.files.iter().map(|file| file.path.as_str()).collect();
        let mut selection = select(model.repo(), &paths, &model.wanted)?;
        let mut plan = Plan {
            model: model.clone(),
            revision: revision.to_owned(),
            commit: repository.commit.clone(),
            selection: selection.clone(),
            files: Vec::new(),
            total_bytes: 0,
            missing_bytes: 0,
        };
        if selection.has_index() {
            let contents = self.contents_of(&plan, &repository, INDEX)?;
            let job = self.job(&plan, INDEX, &contents);
            job.run(self.means(), &mut |_| ())?;
            let index = std::fs::read(&job.pointer).map_err(HubError::io("read", &job.pointer))?;
            selection.add_shards(model.repo(), &paths, &index)?;
        }
        for path in &selection.files {
            let contents = self.contents_of(&plan, &repository, path)?;
            plan.total_bytes = plan.total_bytes.saturating_add(contents.size);
            let missing_bytes = self.job(&plan, path, &contents).missing_bytes();
            plan.missing_bytes = plan.missing_bytes.saturating_add(missing_bytes);
            plan.files.push((path.clone(), contents));
        }
        plan.selection = selection;
        Ok(plan)
    }

    /// Fetches what is missing, and returns where the model is.
    ///
    /// # Errors
    /// If the disk is too small, the connection fails for good, a checksum is wrong, or it is cancelled.
    pub fn pull(&self, plan: &Plan, progress: &mut dyn FnMut(Progress<'_>)) -> Result<CachedModel, HubError> {
        self.check_space(plan)?;
        let mut before = 0;
        for (path, contents) in &plan.files {
            let mut tell = |done: u64| {
                let done_bytes = before + done.min(contents.size);
                progress(Progress { file: path, done_bytes, total_bytes: plan.total_bytes });
            };
            tell(0);
            self.job(plan, path, contents).run(self.means(), &mut tell)?;
            tell(contents.size);
            before += contents.size;
        }
        let folder = self.cache.folder(plan.model.repo());
        // Only now: until everything is there, the branch means what it meant before.
        folder.set_commit(&plan.revision, &plan.commit)?;
        let found: Found = folder.found(&plan.commit, &plan.selection);
        Ok(CachedModel::new(plan.model.clone(), found))
    }

    /// What a file has to be: as listed, or as the hub says when it is asked for this file.
    fn contents_of(&self, plan: &Plan, repository: &Repository, path: &str) -> Result<Contents, HubError> {
        let listed = repository.file(path).and_then(|file| file.contents.clone());
        if let Some(contents) = listed {
            return Ok(contents);
        }
        let url = address(&self.settings.endpoint, plan.model.repo(), &plan.commit, path);
        Contents::ask(&self.http, &url, &self.subject(&plan.model, &plan.revision, Some(path)))
    }

    fn job<'a>(&'a self, plan: &'a Plan, path: &'a str, contents: &'a Contents) -> Job<'a> {
        let folder = self.cache.folder(plan.model.repo());
        Job {
            url: address(&self.settings.endpoint, plan.model.repo(), &plan.commit, path),
            subject: self.subject(&plan.model, &plan.revision, Some(path)),
            path,
            contents,
            pointer: folder.pointer(&plan.commit, path),
            folder,
        }
    }

    fn check_space(&self, plan: &Plan) -> Result<(), HubError> {
        if plan.missing_bytes == 0 {
            return Ok(());
        }
        let path = &self.cache.root;
        std::fs::create_dir_all(path).map_err(HubError::io("create", path))?;
        match fs4::available_space(path) {
            Ok(free_bytes) if free_bytes < plan.missing_bytes => {
                Err(HubError::Space { path: path.clone(), needed_bytes: plan.missing_bytes, free_bytes })
            }
            // Where the system does not say, writing will.
            _ => Ok(()),
        }
    }

    fn means(&self) -> Means<'_> {
        Means { http: &self.http, cache: &self.cache, cancel: &self.cancel }
    }

    fn subject<'a>(&'a self, model: &'a HubRef, revision: &'a str, file: Option<&'a str>) -> Subject<'a> {
        let HubSettings { endpoint, token, .. } = &self.settings;
        Subject { endpoint, repo: model.repo(), revision, file, token: token.as_ref() }
    }
}
