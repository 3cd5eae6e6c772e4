//! What each modifier does to a document.

use bson::{Bson, Document};

use super::{
    update::{Modifier, Path, PullTest, show_element},
    value::{arithmetic, compare, float, type_name},
};
use crate::failure::{BAD_VALUE, Failure, PATH_NOT_VIABLE, Result, TYPE_MISMATCH};

/// How far an index may lie behind the end of an array that it pads.
const PADDING_MAX: usize = 1_500_000;

pub(super) fn apply(
    modifiers: &[(Path, Modifier)],
    document: &mut Document,
    inserting: bool,
) -> Result<()> {
    for (path, modifier) in modifiers {
        one(path, modifier, document, inserting)?;
    }
    Ok(())
}

fn one(path: &Path, modifier: &Modifier, document: &mut Document, inserting: bool) -> Result<()> {
    match modifier {
        Modifier::SetOnInsert(_) if !inserting => return Ok(()),
        Modifier::Unset => {
            unset(document, path);
            return Ok(());
        }
        Modifier::RenameFrom(source) => return rename(document, source, path),
        Modifier::Pull(test) => return pull(document, path, test),
        _ => {}
    }
    let id = document.get("_id").cloned().unwrap_or(Bson::Null);
    let old = find(document, path).cloned();
    if let Some(new) = value_after(path, modifier, old.as_ref(), &id)? {
        set(document, path, new)?;
    }
    Ok(())
}

/// The value at a path after a modifier; `None` when it stays.
fn value_after(
    path: &Path,
    modifier: &Modifier,
    old: Option<&Bson>,
    id: &Bson,
) -> Result<Option<Bson>> {
    let field = path.last().map_or("", String::as_str);
    Ok(match modifier {
        Modifier::Set(value) | Modifier::SetOnInsert(value) => Some(value.clone()),
        Modifier::Max(value) => {
            let keep = old.is_some_and(|old| compare(old, value).is_ge());
            (!keep).then(|| value.clone())
        }
        Modifier::Min(value) => {
            let keep = old.is_some_and(|old| compare(old, value).is_le());
            (!keep).then(|| value.clone())
        }
        Modifier::Inc(value) => match old {
            None => Some(value.clone()),
            Some(old) => Some(calculated("$inc", field, old, value, id)?),
        },
        Modifier::Mul(value) => {
            let zero = Bson::Int32(0);
            Some(calculated("$mul", field, old.unwrap_or(&zero), value, id)?)
        }
        Modifier::Push(values) => Some(pushed(field, old, values, id)?),
        Modifier::AddToSet(values) => added(field, old, values)?,
        Modifier::Pull(_) | Modifier::RenameFrom(_) | Modifier::Unset => None,
    })
}

fn calculated(name: &str, field: &str, old: &Bson, by: &Bson, id: &Bson) -> Result<Bson> {
    let shown = show_element("_id", id);
    if float(old).is_none() {
        return Err(Failure::new(
            TYPE_MISMATCH,
            format!(
                "Cannot apply {name} to a value of non-numeric type. {shown} has the field '{field}' \
                 of non-numeric type {}",
                type_name(old)
            ),
        ));
    }
    let result = if name == "$inc" {
        arithmetic(old, by, i64::checked_add, |a, b| a + b)
    } else {
        arithmetic(old, by, i64::checked_mul, |a, b| a * b)
    };
    if matches!(
        (old, by),
        (Bson::Decimal128(_), _) | (_, Bson::Decimal128(_))
    ) {
        return Err(Failure::not_simulated("arithmetic on decimals"));
    }
    result.ok_or_else(|| {
        let kind = if matches!(old, Bson::Int32(_)) {
            "NumberInt"
        } else {
            "NumberLong"
        };
        Failure::new(
            BAD_VALUE,
            format!(
                "Failed to apply {name} operations to current value (({kind}){old}) for document \
                 {shown}"
            ),
        )
    })
}

fn pushed(field: &str, old: Option<&Bson>, values: &[Bson], id: &Bson) -> Result<Bson> {
    let mut array = match old {
        None => Vec::new(),
        Some(Bson::Array(array)) => array.clone(),
        Some(other) => {
            return Err(Failure::new(
                BAD_VALUE,
                format!(
                    "The field '{field}' must be an array but is of type {} in document {}",
                    type_name(other),
                    show_element("_id", id)
                ),
            ));
        }
    };
    array.extend(values.iter().cloned());
    Ok(Bson::Array(array))
}

fn added(field: &str, old: Option<&Bson>, values: &[Bson]) -> Result<Option<Bson>> {
    let mut array = match old {
        None => Vec::new(),
        Some(Bson::Array(array)) => array.clone(),
        Some(other) => {
            return Err(Failure::new(
                BAD_VALUE,
                format!(
                    "Cannot apply $addToSet to non-array field. Field named '{field}' has non-array \
                     type {}",
                    type_name(other)
                ),
            ));
        }
    };
    let before = array.len();
    for value in values {
        if !array.iter().any(|known| compare(known, value).is_eq()) {
            array.push(value.clone());
        }
    }
    let changed = array.len() > before || old.is_none();
    Ok(changed.then_some(Bson::Array(array)))
}

fn find<'a>(document: &'a Document, path: &[String]) -> Option<&'a Bson> {
    let (first, rest) = path.split_first()?;
    let mut value = document.get(first)?;
    for part in rest {
        value = match value {
            Bson::Document(inner) => inner.get(part)?,
            Bson::Array(values) => values.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

fn set(document: &mut Document, path: &[String], new: Bson) -> Result<()> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(());
    };
    if rest.is_empty() {
        document.insert(first.clone(), new);
        return Ok(());
    }
    let place = document
        .entry(first.clone())
        .or_insert_with(|| Bson::Document(Document::new()));
    set_below(first, place, rest, new)
}

fn set_below(name: &str, place: &mut Bson, path: &[String], new: Bson) -> Result<()> {
    let Some((first, rest)) = path.split_first() else {
        *place = new;
        return Ok(());
    };
    let shown = matches!(place, Bson::Document(_)).then(String::new);
    let shown = shown.unwrap_or_else(|| show_element(name, place));
    let not_viable = || {
        let message = format!("Cannot create field '{first}' in element {shown}");
        Failure::new(PATH_NOT_VIABLE, message)
    };
    match place {
        Bson::Document(inner) => set(inner, path, new),
        Bson::Array(values) => {
            let index: usize = first.parse().map_err(|_| not_viable())?;
            if index >= values.len() {
                if index - values.len() > PADDING_MAX {
                    return Err(not_viable());
                }
                values.resize(index, Bson::Null);
                let start = if rest.is_empty() {
                    Bson::Null
                } else {
                    Document::new().into()
                };
                values.push(start);
            }
            set_below(first, &mut values[index], rest, new)
        }
        _ => Err(not_viable()),
    }
}

fn unset(document: &mut Document, path: &[String]) -> Option<Bson> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        return document.remove(first);
    }
    unset_below(document.get_mut(first)?, rest)
}

fn unset_below(place: &mut Bson, path: &[String]) -> Option<Bson> {
    let (first, rest) = path.split_first()?;
    match place {
        Bson::Document(inner) => unset(inner, path),
        Bson::Array(values) => {
            let element = values.get_mut(first.parse::<usize>().ok()?)?;
            if rest.is_empty() {
                return Some(std::mem::replace(element, Bson::Null));
            }
            unset_below(element, rest)
        }
        _ => None,
    }
}

fn rename(document: &mut Document, source: &Path, target: &Path) -> Result<()> {
    for (path, side) in [(source, "source"), (target, "destination")] {
        for end in 1..path.len() {
            if let Some(Bson::Array(_)) = find(document, &path[..end]) {
                let id = document.get("_id").cloned().unwrap_or(Bson::Null);
                return Err(Failure::new(
                    BAD_VALUE,
                    format!(
                        "The {side} field cannot be an array element, '{}' in doc with _id: {} has \
                         an array field called '{}'",
                        path.join("."),
                        super::value::show(&id),
                        path[end - 1]
                    ),
                ));
            }
        }
    }
    match unset(document, source) {
        Some(value) => set(document, target, value),
        None => Ok(()),
    }
}

fn pull(document: &mut Document, path: &Path, test: &PullTest) -> Result<()> {
    let mut values = match find(document, path) {
        None => return Ok(()),
        Some(Bson::Array(values)) => values.clone(),
        Some(_) => {
            let message = "Cannot apply $pull to a non-array value";
            return Err(Failure::new(BAD_VALUE, message));
        }
    };
    let before = values.len();
    values.retain(|element| !pulls(test, element));
    if values.len() < before {
        set(document, path, Bson::Array(values))?;
    }
    Ok(())
}

fn pulls(test: &PullTest, element: &Bson) -> bool {
    match test {
        PullTest::Equal(value) => compare(value, element).is_eq(),
        PullTest::Matching(filter) => element.as_document().is_some_and(|d| filter.matches(d)),
        PullTest::Value(filter) => {
            let mut wrapped = Document::new();
            wrapped.insert("v", element.clone());
            filter.matches(&wrapped)
        }
    }
}
