//! Renders whole and appended, and what cannot be rendered.

use serde_json::json;

use super::*;

/// The format of `ChatML`: a message ends with a mark of its own.
pub(crate) const CHATML: &str = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content | trim }}<e>\n{% endfor %}\
                                 {% if add_generation_prompt %}<s>assistant\n{% if think is false %}<t></t>{% endif %}{% endif %}";

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, Map::new()).unwrap()
}

/// Renders of one template as text.
struct Renders(ChatTemplate);

impl Renders {
    fn whole(&self, request: &ChatRequest) -> Result<String, Error> {
        request.render(Template { template: &self.0, guard: None }).map(|text| text.text)
    }

    fn after_answer(&self, request: &ChatRequest) -> Result<String, Error> {
        request.render_after_answer(Template { template: &self.0, guard: None }).map(|text| text.text)
    }
}

#[test]
fn messages_tools_and_variables_reach_the_template() {
    let request = ChatRequest::new().system("brief").user("hi").variable("think", false);
    assert_eq!(
        Renders(template(CHATML)).whole(&request).unwrap(),
        "<s>system\nbrief<e>\n<s>user\nhi<e>\n<s>assistant\n<t></t>"
    );
    let request = ChatRequest::new().user("hi").add_generation_prompt(false);
    assert_eq!(Renders(template(CHATML)).whole(&request).unwrap(), "<s>user\nhi<e>\n");
    let source = "{{ tools[1].name }} {{ documents[0] }} {{ strftime_now('%Y') }}";
    let request = ChatRequest::new()
        .messages([Message::new("user", "hi")])
        .tool(json!({"name": "a"}))
        .tools([json!({"name": "b"})])
        .documents([json!("text")])
        .now_unix_seconds(0);
    assert_eq!(Renders(template(source)).whole(&request).unwrap(), "b text 1970");
}

#[test]
fn a_continued_message_ends_the_prompt_where_its_text_ends() {
    let parts = Message::from_json(json!({"role": "assistant", "content": [{"text": "a "}, {"text": "b"}]}));
    let listed = "{% for m in messages %}[{% for p in m.content %}{{ p.text }}{% endfor %}]{% endfor %}";
    for (source, last, expected) in [
        (CHATML, Message::new("assistant", "One, two,"), "<s>user\nOne, two,<e>\n<s>assistant\nOne, two,"),
        // White space at the end stays, although the template trims.
        (CHATML, Message::new("assistant", "x "), "<s>user\nOne, two,<e>\n<s>assistant\nx "),
        (listed, parts.unwrap(), "[][a b"),
    ] {
        let request = ChatRequest::new().user("One, two,").message(last).continue_final_message(true);
        assert_eq!(Renders(template(source)).whole(&request).unwrap(), expected);
    }
}

#[test]
fn an_appended_render_is_the_rest_of_the_whole_one() {
    let renders = Renders(template(CHATML));
    let asked = ChatRequest::new().system("brief").user("hi");
    let before = renders.whole(&asked).unwrap() + "hello";
    let whole = asked.clone().assistant("hello").user("and?").variable("think", false);
    let after = renders.after_answer(&ChatRequest::new().user("and?").variable("think", false)).unwrap();
    assert_eq!(before.clone() + &after, renders.whole(&whole).unwrap());
    let whole = whole.assistant("Well,").continue_final_message(true);
    let continued = ChatRequest::new().user("and?").assistant("Well,").continue_final_message(true);
    assert_eq!(before + &renders.after_answer(&continued).unwrap(), renders.whole(&whole).unwrap());
}

#[test]
fn what_cannot_be_rendered_names_the_remedy() {
    let last_only = Renders(template("{{ messages[-1].content }}"));
    let users_only =
        Renders(template("{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"));
    let refuses = Renders(template("{{ raise_exception('no') }}"));
    let user = ChatRequest::new().user("hi");
    let no_text = user.clone().message(Message::from_json(json!({"role": "assistant"})).unwrap());
    let cases = [
        (last_only.whole(&ChatRequest::new()), "must contain at least one message"),
        (last_only.after_answer(&user), "prefix mode"),
        (last_only.whole(&no_text.continue_final_message(true)), "no text to continue"),
        (users_only.whole(&user.assistant("x").continue_final_message(true)), "omits the last message"),
        (refuses.whole(&ChatRequest::new().user("hi")), "rejects this conversation: no"),
    ];
    for (outcome, part) in cases {
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains(part), "{part}: {message}");
    }
}
