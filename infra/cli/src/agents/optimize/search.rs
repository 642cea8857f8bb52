//! Bootstrap few-shot with random search, as DSPy has it (Khattab et al., 2023): the agent answers rows of the data; answers that
//! score well become examples; several sets of them are tried on rows that none was taken from, and the best one is kept.

use agent_files::domain::definition::Example;
use serde::Deserialize;

use super::metric::{Metric, share};
use crate::error::Result;

/// A line of the data.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) input: String,
    pub(crate) output: String,
}

/// Who answers: the agent with these examples before the question.
pub(crate) trait Answers {
    fn answer(&mut self, examples: &[Example], input: &str) -> Result<String>;
}

/// What is tried.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) metric: Metric,
    /// The least score of an answer that becomes an example.
    pub(crate) threshold: f64,
    /// Examples of a set at most.
    pub(crate) most: usize,
    /// Sets that are drawn at random, besides those that are always tried.
    pub(crate) draws: usize,
    pub(crate) seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// None of them: no set does better than none.
    pub(crate) examples: Vec<Example>,
    pub(crate) before: f64,
    pub(crate) after: f64,
    pub(crate) training_rows: usize,
    pub(crate) scored_rows: usize,
    /// Name, size and score of each set that was tried.
    pub(crate) tried: Vec<(String, usize, f64)>,
}

pub(crate) fn search(rows: &[Row], plan: &Plan, agent: &mut dyn Answers) -> Result<Found> {
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let mut rows = rows.to_vec();
    random.shuffle(&mut rows);
    let (training, scored) = rows.split_at(rows.len() / 2);
    let labelled: Vec<Example> = training.iter().take(plan.most).map(label).collect();
    // What the agent says itself, led by given answers to other rows: it shows the way, and the words, that the agent can find.
    let mut own: Vec<Option<Example>> = Vec::new();
    for row in training {
        let lead: Vec<Example> = labelled.iter().filter(|example| example.input != row.input).cloned().collect();
        let answer = agent.answer(&lead, &row.input)?;
        let is_good = !answer.trim().is_empty() && plan.metric.score(&row.output, &answer) >= plan.threshold;
        own.push(is_good.then(|| Example { input: row.input.clone(), output: answer }));
    }
    let mut sets = vec![("none".to_owned(), Vec::new()), ("given answers".to_owned(), labelled)];
    sets.push(("own answers".to_owned(), filled(training, &own, plan.most, plan.most)));
    for draw in 1..=plan.draws {
        let mut order: Vec<usize> = (0..training.len()).collect();
        random.shuffle(&mut order);
        let (drawn, drawn_own): (Vec<_>, Vec<_>) = order.iter().map(|&i| (training[i].clone(), own[i].clone())).unzip();
        let size = random.usize(1..=plan.most.max(1));
        sets.push((format!("draw {draw}"), filled(&drawn, &drawn_own, size, plan.most)));
    }
    let mut best: Option<(f64, Vec<Example>)> = None;
    let (mut before, mut tried) = (0.0, Vec::new());
    for (name, examples) in sets {
        let score = score(scored, &examples, plan, agent)?;
        tried.push((name, examples.len(), score));
        match &best {
            None => (before, best) = (score, Some((score, examples))),
            // Of equals the first, which is the plainer one, and the first of all is none.
            Some((so_far, _)) if score > *so_far => best = Some((score, examples)),
            Some(_) => {}
        }
    }
    let (after, examples) = best.unwrap_or_default();
    Ok(Found { examples, before, after, training_rows: training.len(), scored_rows: scored.len(), tried })
}

fn label(row: &Row) -> Example {
    Example { input: row.input.clone(), output: row.output.clone() }
}

/// Up to `size` of the agent's own answers, then given ones of other rows up to `most`.
fn filled(rows: &[Row], own: &[Option<Example>], size: usize, most: usize) -> Vec<Example> {
    let mut examples: Vec<Example> = own.iter().flatten().take(size).cloned().collect();
    for row in rows {
        if examples.len() < most.min(size) && examples.iter().all(|example| example.input != row.input) {
            examples.push(label(row));
        }
    }
    examples
}

/// The mean over the rows.
fn score(rows: &[Row], examples: &[Example], plan: &Plan, agent: &mut dyn Answers) -> Result<f64> {
    let mut sum = 0.0;
    for row in rows {
        sum += plan.metric.score(&row.output, &agent.answer(examples, &row.input)?);
    }
    // In thousandths, so that it reads back from JSON as it was written.
    Ok((sum * share(1, rows.len()) * 1_000.0).round() / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that answers in capitals only when it was shown an example that does.
    struct Imitates(usize);

    impl Answers for Imitates {
        fn answer(&mut self, examples: &[Example], input: &str) -> Result<String> {
            self.0 += 1;
            let is_shown = examples.iter().any(|example| example.output == example.output.to_uppercase());
            Ok(if is_shown { input.to_uppercase() } else { input.to_owned() })
        }
    }

    fn rows(output: impl Fn(&str) -> String) -> Vec<Row> {
        (0..8).map(|i| format!("word{i}x")).map(|input| Row { output: output(&input), input }).collect()
    }

    fn plan() -> Plan {
        let metric = Metric::Rule(serde_json::from_str(r#"{"contains":["x"]}"#).unwrap());
        Plan { metric, threshold: 1.0, most: 2, draws: 2, seed: 7 }
    }

    #[test]
    fn examples_are_kept_that_make_the_agent_better_on_rows_that_they_are_not_from() {
        let data = rows(|input| format!("{{\"a\":\"{}\"}}", input.to_uppercase()));
        /// Answers in JSON when it was shown some.
        struct Json;
        impl Answers for Json {
            fn answer(&mut self, examples: &[Example], input: &str) -> Result<String> {
                let is_shown = examples.iter().any(|example| example.output.starts_with('{'));
                Ok(if is_shown { format!("{{\"a\":\"{}\"}}", input.to_uppercase()) } else { input.to_owned() })
            }
        }
        let found = search(&data, &Plan { metric: Metric::Json, ..plan() }, &mut Json).unwrap();
        assert_eq!((found.before, found.after, found.training_rows, found.scored_rows), (0.0, 1.0, 4, 4));
        assert_eq!(
            found.tried.iter().map(|(name, _, _)| name.as_str()).collect::<Vec<_>>(),
            ["none", "given answers", "own answers", "draw 1", "draw 2"]
        );
        assert_eq!(found.examples.len(), 2);
        let again = search(&data, &Plan { metric: Metric::Json, ..plan() }, &mut Json).unwrap();
        assert_eq!(again, found, "the same seed finds the same");
    }

    #[test]
    fn where_no_examples_help_none_are_kept() {
        let mut agent = Imitates(0);
        let found = search(&rows(str::to_owned), &plan(), &mut agent).unwrap();
        assert_eq!((found.before, found.after, found.examples), (1.0, 1.0, vec![]));
        assert_eq!(agent.0, 4 + 5 * 4, "each training row once, each set on each scored row");
    }

    #[test]
    fn an_answer_that_scores_too_low_becomes_no_example() {
        struct Wrong;
        impl Answers for Wrong {
            fn answer(&mut self, examples: &[Example], _: &str) -> Result<String> {
                assert!(examples.iter().all(|example| example.output != "wrong"));
                Ok("wrong".into())
            }
        }
        let found = search(&rows(str::to_owned), &Plan { metric: Metric::Exact, ..plan() }, &mut Wrong).unwrap();
        assert_eq!((found.after, found.examples), (0.0, vec![]));
    }
}
