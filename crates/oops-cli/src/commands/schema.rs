//! `oops schema`: JSON Schemas of pipeline and sweep files, for editors.

use std::{fs, path::Path};

use oops_core::{Fault, Result};
use oops_pipeline::schema;
use oops_stage::Registry;
use serde_json::Value;

use crate::{
    args::{Schema, SchemaOf},
    open::Answer,
    terminal::out,
};

/// Runs the command.
pub(crate) fn schema(args: &Schema, registry: &Registry) -> Answer {
    if let Some(dir) = &args.out {
        write_all(dir, registry)?;
        return Ok(0);
    }
    let value = match args.of {
        SchemaOf::Pipeline => schema::pipeline(registry),
        SchemaOf::Sweep => schema::sweep(registry),
    };
    out(text(&value)?.trim_end());
    Ok(0)
}

/// The files by name.
fn files(registry: &Registry) -> [(&'static str, Value); 2] {
    [("schema.json", schema::pipeline(registry)), ("sweep.schema.json", schema::sweep(registry))]
}

fn write_all(dir: &Path, registry: &Registry) -> Result<()> {
    fs::create_dir_all(dir).map_err(|e| writing(dir, &e))?;
    for (name, value) in files(registry) {
        let path = dir.join(name);
        fs::write(&path, text(&value)?).map_err(|e| writing(&path, &e))?;
        out(&format!("wrote {}", path.display()));
    }
    Ok(())
}

fn writing(path: &Path, e: &std::io::Error) -> Fault {
    Fault::store(format!("cannot write: {e}")).at(path.display())
}

fn text(value: &Value) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Fault::internal(format!("JSON: {e}")))?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::registry;

    #[test]
    fn the_stored_schemas_are_those_of_the_stages() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
        for (name, value) in files(&registry().unwrap()) {
            let stored = fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert!(stored == text(&value).unwrap(), "pipelines/{name} is stale: cargo xtask schema --out pipelines");
        }
    }
}
