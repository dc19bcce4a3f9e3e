//! The decision in a native function and in four embedded languages.

use crate::{Counters, ERROR_RATE_MAX, Facts, Order};
use std::sync::Arc;

/// A Rust function: the floor.
#[derive(Debug)]
pub struct Native;

impl Native {
    /// Decides.
    pub fn decide(&self, facts: &Facts, counters: &Counters) -> Order {
        let good = facts.candidates.iter().filter(|(model, closed, healthy)| {
            *closed && *healthy && counters.rate(model) <= ERROR_RATE_MAX
        });
        let mut order: Order = good.map(|(model, ..)| (*model).to_owned()).collect();
        order.push(facts.rules.to_owned());
        order
    }
}

/// Rego in regorus: the engine is cloned for each decision, so that none sees
/// the data of another. Metrics are part of the input.
pub struct Rego(regorus::Engine);

const REGO: &str = r#"
package fallback
import rego.v1

order := array.concat([c.model | some c in input.candidates; c.closed; c.healthy; c.error_rate <= 0.25], [input.rules])
"#;

impl Rego {
    /// Compiles the policy.
    ///
    /// # Panics
    ///
    /// When regorus refuses it.
    #[expect(clippy::new_without_default, reason = "it compiles")]
    pub fn new() -> Self {
        let mut engine = regorus::Engine::new();
        engine
            .add_policy("fallback.rego".to_owned(), REGO.to_owned())
            .expect("a policy");
        Rego(engine)
    }

    /// Decides.
    ///
    /// # Panics
    ///
    /// When the policy does not yield a list of strings.
    pub fn decide(&self, facts: &Facts, counters: &Counters) -> Order {
        use regorus::Value;
        use std::collections::BTreeMap;
        let candidates = facts.candidates.iter().map(|(model, closed, healthy)| {
            let fields: BTreeMap<Value, Value> = [
                (Value::from("model"), Value::from(*model)),
                (Value::from("closed"), Value::from(*closed)),
                (Value::from("healthy"), Value::from(*healthy)),
                (Value::from("error_rate"), Value::from(counters.rate(model))),
            ]
            .into();
            Value::from(fields)
        });
        let input: BTreeMap<Value, Value> = [
            (
                Value::from("candidates"),
                Value::from(candidates.collect::<Vec<_>>()),
            ),
            (Value::from("rules"), Value::from(facts.rules)),
        ]
        .into();
        let mut engine = self.0.clone();
        engine.set_input(Value::from(input));
        let order = engine
            .eval_rule("data.fallback.order".to_owned())
            .expect("a decision");
        let order = order.as_array().expect("a list");
        order
            .iter()
            .map(|model| model.as_string().expect("a name").to_string())
            .collect()
    }
}

/// CEL in cel-interpreter; a context is made for each decision.
pub struct Cel(cel_interpreter::Program);

impl Cel {
    /// Compiles the expression.
    ///
    /// # Panics
    ///
    /// When cel-interpreter refuses it.
    #[expect(clippy::new_without_default, reason = "it compiles")]
    pub fn new() -> Self {
        let text = "candidates.filter(c, c.closed && c.healthy && c.error_rate <= 0.25).map(c, c.model) + [rules]";
        Cel(cel_interpreter::Program::compile(text).expect("an expression"))
    }

    /// Decides.
    ///
    /// # Panics
    ///
    /// When the expression does not yield a list of strings.
    pub fn decide(&self, facts: &Facts, counters: &Counters) -> Order {
        use cel_interpreter::{Context, Value};
        use std::collections::HashMap;
        let candidates = facts.candidates.iter().map(|(model, closed, healthy)| {
            let fields: HashMap<String, Value> = HashMap::from([
                ("model".to_owned(), Value::from(*model)),
                ("closed".to_owned(), Value::from(*closed)),
                ("healthy".to_owned(), Value::from(*healthy)),
                ("error_rate".to_owned(), Value::from(counters.rate(model))),
            ]);
            Value::from(fields)
        });
        let mut context = Context::default();
        context.add_variable_from_value("candidates", candidates.collect::<Vec<_>>());
        context.add_variable_from_value("rules", facts.rules);
        let Value::List(order) = self.0.execute(&context).expect("a decision") else {
            panic!("a list")
        };
        order
            .iter()
            .map(|model| match model {
                Value::String(model) => model.to_string(),
                other => panic!("a name, not {other:?}"),
            })
            .collect()
    }
}

/// Rhai; a scope is made for each decision, metrics are a host function.
pub struct Rhai {
    engine: rhai::Engine,
    ast: rhai::AST,
}

const RHAI: &str = r#"
let order = [];
for c in candidates {
    if c.closed && c.healthy && error_rate(c.model) <= 0.25 { order.push(c.model); }
}
order.push(rules);
order
"#;

impl Rhai {
    /// Compiles the script.
    ///
    /// # Panics
    ///
    /// When Rhai refuses it.
    pub fn new(counters: Arc<Counters>) -> Self {
        let mut engine = rhai::Engine::new();
        engine.register_fn("error_rate", move |model: &str| counters.rate(model));
        let ast = engine.compile(RHAI).expect("a script");
        Rhai { engine, ast }
    }

    /// Decides.
    ///
    /// # Panics
    ///
    /// When the script does not yield a list of strings.
    pub fn decide(&self, facts: &Facts) -> Order {
        let candidates: rhai::Array = facts
            .candidates
            .iter()
            .map(|(model, closed, healthy)| {
                let mut fields = rhai::Map::new();
                fields.insert("model".into(), (*model).into());
                fields.insert("closed".into(), (*closed).into());
                fields.insert("healthy".into(), (*healthy).into());
                rhai::Dynamic::from_map(fields)
            })
            .collect();
        let mut scope = rhai::Scope::new();
        scope.push("candidates", candidates);
        scope.push("rules", facts.rules.to_owned());
        let order: rhai::Array = self
            .engine
            .eval_ast_with_scope(&mut scope, &self.ast)
            .expect("a decision");
        order
            .into_iter()
            .map(|model| model.into_string().expect("a name"))
            .collect()
    }
}

/// LuaJIT through mlua, in one VM that all decisions share: warm, and without
/// any isolation between them.
pub struct Lua {
    lua: mlua::Lua,
    decide: mlua::Function,
}

const LUA: &str = r#"
return function(candidates, rules)
    local order = {}
    for _, c in ipairs(candidates) do
        if c.closed and c.healthy and error_rate(c.model) <= 0.25 then
            order[#order + 1] = c.model
        end
    end
    order[#order + 1] = rules
    return order
end
"#;

impl Lua {
    /// Loads the function.
    ///
    /// # Panics
    ///
    /// When LuaJIT refuses it.
    pub fn new(counters: Arc<Counters>) -> Self {
        let lua = mlua::Lua::new();
        let rate = lua
            .create_function(move |_, model: mlua::LuaString| Ok(counters.rate(&model.to_str()?)));
        lua.globals()
            .set("error_rate", rate.expect("a function"))
            .expect("a global");
        let decide = lua.load(LUA).eval().expect("a function");
        Lua { lua, decide }
    }

    /// Decides.
    ///
    /// # Panics
    ///
    /// When the function does not yield a list of strings.
    pub fn decide(&self, facts: &Facts) -> Order {
        let candidates = self
            .lua
            .create_table_with_capacity(facts.candidates.len(), 0)
            .expect("a table");
        for (model, closed, healthy) in &facts.candidates {
            let fields = self.lua.create_table_with_capacity(0, 3).expect("a table");
            fields.raw_set("model", *model).expect("a field");
            fields.raw_set("closed", *closed).expect("a field");
            fields.raw_set("healthy", *healthy).expect("a field");
            candidates.raw_push(fields).expect("an element");
        }
        self.decide
            .call::<Vec<String>>((candidates, facts.rules))
            .expect("a decision")
    }
}
