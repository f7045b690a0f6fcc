//! Which tools must or may be called.

use serde_json::Value;

/// Whether a model must call a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// It may.
    #[default]
    Auto,
    /// It must not. It is not told of the tools.
    None,
    /// It must call at least one.
    Required,
    /// It must call this one.
    Named(String),
}

/// How tools are to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolUse {
    /// Whether the model must call a tool.
    pub choice: ToolChoice,
    /// Whether it may call several at once.
    pub in_parallel: bool,
    /// The tools that may be called, by name; all if `None`.
    pub allowed: Option<Vec<String>>,
}

impl Default for ToolUse {
    fn default() -> Self {
        Self { choice: ToolChoice::Auto, in_parallel: true, allowed: None }
    }
}

impl ToolUse {
    /// Reads `tool_choice` of OpenAI's chats and responses.
    ///
    /// # Errors
    /// What it must be.
    pub fn set_choice(&mut self, value: &Value) -> Result<(), String> {
        let refused = || {
            "must be \"auto\", \"none\", \"required\", {\"type\": \"function\", \"function\": {\"name\": …}}, or allowed_tools".to_owned()
        };
        self.choice = match value {
            Value::String(choice) => of_mode(choice).ok_or_else(refused)?,
            _ if value["type"] == "allowed_tools" => {
                let list = value.get("allowed_tools").unwrap_or(value);
                let names =
                    list["tools"].as_array().map(|tools| tools.iter().map(name).collect::<Option<_>>());
                self.allowed = Some(names.flatten().ok_or_else(refused)?);
                list["mode"].as_str().and_then(of_mode).ok_or_else(refused)?
            }
            _ if value["type"] == "function" => ToolChoice::Named(name(value).ok_or_else(refused)?),
            _ => return Err(refused()),
        };
        Ok(())
    }

    /// Whether every answer is a call.
    pub fn must_call(&self) -> bool {
        matches!(self.choice, ToolChoice::Required | ToolChoice::Named(_))
    }

    /// The tools that may be called.
    ///
    /// # Errors
    /// If one that must or may be called is not there.
    pub fn select(&self, mut tools: Vec<Value>) -> Result<Vec<Value>, String> {
        let has = |wanted: &str| tools.iter().any(|tool| name(tool).is_some_and(|name| name == wanted));
        let named = match &self.choice {
            ToolChoice::None => return Ok(Vec::new()),
            ToolChoice::Auto => None,
            ToolChoice::Required if tools.is_empty() => {
                return Err("a tool must be called, but tools has none".to_owned());
            }
            ToolChoice::Required => None,
            ToolChoice::Named(name) => Some(name),
        };
        let missing = named.into_iter().chain(self.allowed.iter().flatten()).find(|name| !has(name));
        if let Some(missing) = missing {
            return Err(format!("the tool {missing:?} must be called, but tools has none of this name"));
        }
        if let Some(allowed) = &self.allowed {
            tools.retain(|tool| name(tool).is_some_and(|name| allowed.contains(&name)));
        }
        Ok(tools)
    }
}

fn of_mode(mode: &str) -> Option<ToolChoice> {
    Some(match mode {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "required" => ToolChoice::Required,
        _ => return None,
    })
}

/// The name of a function, with the object around it or without.
fn name(tool: &Value) -> Option<String> {
    tool.get("function").unwrap_or(tool)["name"].as_str().map(str::to_owned)
}
