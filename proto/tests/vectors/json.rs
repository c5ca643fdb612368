//! Between Rust's values and JSON. Fields that are 0 are left out.

use fray_proto::model::{ATTRIBUTES, Entity, Motion, Motions, World};
use serde_json::{Map, json};

pub(crate) use serde_json::Value;

/// Sections of one case per line, so that a changed case is one changed line.
pub(crate) fn text(file: &Value) -> String {
    let mut out = String::from("{\n");
    let sections = file.as_object().expect("a file is an object of sections");
    for (index, (name, cases)) in sections.iter().enumerate() {
        out += &format!("  \"{name}\": [");
        for (index, case) in cases.as_array().expect("a section is a list").iter().enumerate() {
            out += &format!("{}\n    {case}", if index > 0 { "," } else { "" });
        }
        out += if index + 1 < sections.len() { "\n  ],\n" } else { "\n  ]\n" };
    }
    out + "}\n"
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    let digits = value.as_str().expect("bytes are a string of hex digits");
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits")).collect()
}

pub(crate) fn number<T: TryFrom<i64>>(value: &Value) -> T {
    let number = if value.is_null() { 0 } else { value.as_i64().expect("an integer") };
    T::try_from(number).ok().expect("an integer in range")
}

pub(crate) fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    let list = value[name].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(!list.is_empty(), "no {name} in the vectors");
    list.iter()
}

fn pair(value: &Value) -> [i32; 2] {
    if value.is_null() { [0, 0] } else { [number(&value[0]), number(&value[1])] }
}

pub(crate) fn world(world: World) -> Value {
    json!({
        "position_bits": world.position_bits, "cell_bits": world.cell_bits, "unit_bits": world.unit_bits,
    })
}

pub(crate) fn read_world(value: &Value) -> World {
    World {
        position_bits: number(&value["position_bits"]),
        cell_bits: number(&value["cell_bits"]),
        unit_bits: number(&value["unit_bits"]),
    }
}

pub(crate) fn motion(motion: Motion) -> Value {
    json!({
        "turn_rate": motion.turn_rate, "acceleration": motion.acceleration,
        "speed_max": motion.speed_max, "drag_shift": motion.drag_shift,
        "launch_speed": motion.launch_speed, "launch_distance": motion.launch_distance,
    })
}

pub(crate) fn read_motion(value: &Value) -> Motion {
    Motion {
        turn_rate: number(&value["turn_rate"]),
        acceleration: number(&value["acceleration"]),
        speed_max: number(&value["speed_max"]),
        drag_shift: number(&value["drag_shift"]),
        launch_speed: number(&value["launch_speed"]),
        launch_distance: number(&value["launch_distance"]),
    }
}

pub(crate) fn motions(motions: &Motions) -> Value {
    let with_kind = |(kind, constants)| {
        let mut value = motion(constants);
        value["kind"] = json!(kind);
        value
    };
    motions.iter().map(with_kind).collect()
}

pub(crate) fn read_motions(value: &Value) -> Motions {
    let mut motions = Motions::default();
    for value in value.as_array().expect("a list of motions") {
        motions.set(number(&value["kind"]), read_motion(value));
    }
    motions
}

pub(crate) fn entity(entity: &Entity) -> Value {
    let mut map = Map::new();
    let mut set = |name: &str, value: Value, present: bool| {
        if present {
            map.insert(name.into(), value);
        }
    };
    set("id", json!(entity.id), true);
    set("kind", json!(entity.kind), entity.kind != 0);
    set("position", json!(entity.position), entity.position != [0, 0]);
    set("velocity", json!(entity.velocity), entity.velocity != [0, 0]);
    set("heading", json!(entity.heading), entity.heading != 0);
    set("turn", json!(entity.turn), entity.turn != 0);
    set("thrust", json!(entity.thrust), entity.thrust != 0);
    set("attributes", json!(entity.attributes), entity.attributes != [0; ATTRIBUTES]);
    let payload = entity.payload.as_deref();
    set("payload", json!(hex(payload.unwrap_or_default())), payload.is_some());
    map.into()
}

pub(crate) fn read_entity(value: &Value) -> Entity {
    let mut attributes = [0; ATTRIBUTES];
    for (index, attribute) in attributes.iter_mut().enumerate() {
        *attribute = number(&value["attributes"][index]);
    }
    let payload = &value["payload"];
    Entity {
        id: number(&value["id"]),
        kind: number(&value["kind"]),
        position: pair(&value["position"]),
        velocity: pair(&value["velocity"]),
        heading: number(&value["heading"]),
        turn: number(&value["turn"]),
        thrust: number(&value["thrust"]),
        attributes,
        payload: (!payload.is_null()).then(|| bytes(payload).into()),
    }
}

pub(crate) fn entities(entities: &[Entity]) -> Value {
    entities.iter().map(entity).collect()
}

pub(crate) fn read_entities(value: &Value) -> Vec<Entity> {
    value.as_array().expect("a list of entities").iter().map(read_entity).collect()
}
