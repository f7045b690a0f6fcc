//! What routers ask a replica: who it is, how busy it is, and which tokens a prompt has. Those of vLLM, SGLang and the Gateway
//! API's endpoint pickers ask these endpoints.

pub(crate) mod loads;
pub(crate) mod model_info;
pub(crate) mod render;
pub(crate) mod server_info;
pub(crate) mod version;
