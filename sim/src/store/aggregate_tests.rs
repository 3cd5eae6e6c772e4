use super::*;

fn documents() -> Vec<Document> {
    vec![
        doc! { "_id": 1, "k": "a", "n": 1, "t": [1, 2] },
        doc! { "_id": 2, "k": "b", "n": 2.5, "t": [] },
        doc! { "_id": 3, "k": "a", "n": 3 },
    ]
}

fn run(stages: Vec<Document>) -> Vec<Document> {
    let stages: Vec<Bson> = stages.into_iter().map(Bson::Document).collect();
    Pipeline::parse(&stages, &Scope::default())
        .unwrap()
        .run(documents())
        .unwrap()
}

fn code(stage: Document) -> i32 {
    Pipeline::parse(&[Bson::Document(stage)], &Scope::default())
        .unwrap_err()
        .code
}

#[test]
fn groups_gather_what_the_accumulators_ask_for() {
    let group = doc! { "$group": {
        "_id": "$k", "sum": { "$sum": "$n" }, "avg": { "$avg": "$n" }, "min": { "$min": "$n" },
        "max": { "$max": "$n" }, "first": { "$first": "$_id" }, "all": { "$push": "$n" },
        "count": { "$sum": 1 },
    } };
    let expected = vec![
        doc! { "_id": "a", "sum": 4, "avg": 2.0, "min": 1, "max": 3, "first": 1, "all": [1, 3], "count": 2 },
        doc! { "_id": "b", "sum": 2.5, "avg": 2.5, "min": 2.5, "max": 2.5, "first": 2, "all": [2.5], "count": 1 },
    ];
    assert_eq!(run(vec![group, doc! { "$sort": { "_id": 1 } }]), expected);
}

#[test]
fn stages_follow_each_other() {
    let found = run(vec![
        doc! { "$match": { "n": { "$gt": 1 } } },
        doc! { "$sort": { "_id": -1 } },
        doc! { "$limit": 2 },
        doc! { "$skip": 1 },
        doc! { "$project": { "_id": 0, "key": "$k" } },
    ]);
    assert_eq!(found, [doc! { "key": "b" }]);
    assert_eq!(run(vec![doc! { "$count": "n" }]), [doc! { "n": 3 }]);
    let none = run(vec![doc! { "$match": { "n": 77 } }, doc! { "$count": "n" }]);
    assert_eq!(none, Vec::<Document>::new());
}

#[test]
fn unwinding_gives_a_document_for_each_element() {
    let all = run(vec![doc! { "$unwind": "$t" }]);
    assert_eq!(
        all.iter()
            .map(|d| d.get_i32("t").unwrap())
            .collect::<Vec<_>>(),
        [1, 2]
    );
    let kept = doc! { "$unwind": { "path": "$t", "preserveNullAndEmptyArrays": true } };
    assert_eq!(run(vec![kept]).len(), 4);
}

#[test]
fn errors_are_those_of_the_server() {
    assert_eq!(code(doc! { "$bogus": 1 }), 40324);
    assert_eq!(code(doc! {}), 40323);
    assert_eq!(code(doc! { "$count": "" }), 40157);
    assert_eq!(code(doc! { "$limit": 0 }), 15958);
    assert_eq!(code(doc! { "$limit": -1 }), 5_107_201);
    assert_eq!(code(doc! { "$skip": -1 }), 5_107_200);
    assert_eq!(code(doc! { "$group": { "x": 1 } }), 40234);
    assert_eq!(
        code(doc! { "$group": { "_id": 1, "x": { "$bogus": 1 } } }),
        15952
    );
    assert_eq!(code(doc! { "$unwind": "a" }), 28818);
    assert_eq!(code(doc! { "$lookup": {} }), crate::failure::NOT_SIMULATED);
}
