//! Every client, over the fake and, as far as the demo can, over the demo; the official SDKs over a real model, too.

use super::{over_a_real_model, over_the_demo, over_the_fake};

/// A test a script, so that a failure names the client.
macro_rules! clients {
    ($($name:ident => $over:ident($($argument:expr),+);)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $over($($argument),+).await;
            }
        )+
    };
}

/// The version of the SDK before the newest.
const OPENAI_6: &[(&str, &str)] = &[("OPENAI_PACKAGE", "openai-6")];

clients! {
    openai_python_chat => over_the_fake("openai_chat.py", &[]);
    openai_python_responses => over_the_fake("openai_responses.py", &[]);
    openai_python_running => over_the_fake("openai_running.py", &[]);
    openai_python_conversations => over_the_fake("openai_conversations.py", &[]);
    openai_node_chat => over_the_fake("openai_chat.cjs", &[]);
    openai_node_responses => over_the_fake("openai_responses.cjs", &[]);
    openai_node_conversations => over_the_fake("openai_conversations.cjs", &[]);
    openai_node_6_chat => over_the_fake("openai_chat.cjs", OPENAI_6);
    openai_node_6_responses => over_the_fake("openai_responses.cjs", OPENAI_6);
    openai_node_6_conversations => over_the_fake("openai_conversations.cjs", OPENAI_6);
    ai_sdk => over_the_fake("ai_sdk.cjs", &[]);
    langchain => over_the_fake("langchain_chat.py", &[]);
    agents_python => over_the_fake("agents_sdk.py", &[]);
    agents_javascript => over_the_fake("agents_sdk.cjs", &[]);
    llm_command => over_the_fake("llm_command.py", &[]);
    llm_comply => over_the_fake("comply.py", &[]);

    demo_openai_python_chat => over_the_demo("openai_chat.py");
    demo_openai_python_responses => over_the_demo("openai_responses.py");
    demo_openai_python_running => over_the_demo("openai_running.py");
    demo_openai_python_conversations => over_the_demo("openai_conversations.py");
    demo_openai_node_chat => over_the_demo("openai_chat.cjs");
    demo_openai_node_responses => over_the_demo("openai_responses.cjs");
    demo_openai_node_conversations => over_the_demo("openai_conversations.cjs");
    demo_ai_sdk => over_the_demo("ai_sdk.cjs");
    demo_langchain => over_the_demo("langchain_chat.py");
    demo_agents_python => over_the_demo("agents_sdk.py");
    demo_agents_javascript => over_the_demo("agents_sdk.cjs");
    demo_llm_command => over_the_demo("llm_command.py");
    demo_llm_comply => over_the_demo("comply.py");

    real_openai_python => over_a_real_model("real_model.py");
    real_node => over_a_real_model("real_model.cjs");
}
