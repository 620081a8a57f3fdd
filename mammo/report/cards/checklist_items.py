"""The items of CLAIM 2024 and TRIPOD+AI and where a report of ours answers each, and the model card's set phrases.

Topics are in our own words. CLAIM: Tejani et al. 2024, Radiology: Artificial Intelligence 6(4):e240300. TRIPOD+AI: Collins et
al. 2024, BMJ 385:e078378.
"""

from typing import NamedTuple


class Item(NamedTuple):
    """One item: `where` it is answered, and what only the `authors` can add; no `where` leaves all of it to them.

    A place is `page:` and a section of `index.html`, `card:` and a heading of `model_card.md`, or `file:` and a file of the
    run or of `report/`. `needs` is what the places need to be of use, a key of `checklist.NEEDS`.
    """

    number: str
    section: str
    topic: str
    where: tuple[str, ...] = ()
    authors: str = ""
    needs: str = ""


# fmt: off
CLAIM = (
    Item("1", "Title and abstract", "names AI and its kind", authors="the title or the abstract"),
    Item("2", "Title and abstract", "structured summary of the study", authors="the abstract"),
    Item("3", "Introduction", "background, intended use and role",
         ("card:Intended Use",), "the clinical background and the role in care"),
    Item("4", "Introduction", "aims and hypotheses", authors="the aims"),
    Item("5", "Methods: study design", "prospective or retrospective", ("card:Evaluation Data",), needs="cbis"),
    Item("6", "Methods: study design", "what the study sets out to do", authors="the goal, such as feasibility or non-inferiority"),
    Item("7", "Methods: data", "where the data came from", ("card:Evaluation Data", "card:Training Data"), needs="cbis"),
    Item("8", "Methods: data", "who or what was eligible",
         ("page:Data", "file:excluded.csv"), "how patients were chosen before mammo read them", "run"),
    Item("9", "Methods: data", "preparation of the images and data", ("card:Evaluation Data", "file:config.yaml"), needs="run"),
    Item("10", "Methods: data", "choice of subsets of the data", ("card:Evaluation Data", "page:Data"), needs="run"),
    Item("11", "Methods: data", "how identities were removed", authors="how films and ids were de-identified"),
    Item("12", "Methods: data", "treatment of missing values",
         ("card:Evaluation Data", "file:excluded.csv"), "what was missing before mammo read the tables", "run"),
    Item("13", "Methods: data", "how images were acquired", ("card:Factors",), "scanners and protocols", "cbis"),
    Item("14", "Methods: reference standard", "how the reference standard is defined", ("card:Evaluation Data",), needs="cbis"),
    Item("15", "Methods: reference standard", "why that reference standard", authors="the reasons"),
    Item("16", "Methods: reference standard", "who annotated, from what source", authors="annotators and their qualifications"),
    Item("17", "Methods: reference standard", "how the test set was annotated", authors="the annotation of the test set"),
    Item("18", "Methods: reference standard", "reader agreement, between and within", authors="agreement, where it was measured"),
    Item("19", "Methods: data partitions", "how cases were assigned to partitions",
         ("card:Evaluation Data", "file:split.csv", "file:config.yaml"), needs="run"),
    Item("20", "Methods: data partitions", "level at which partitions are disjoint",
         ("card:Evaluation Data", "file:split.csv"), needs="run"),
    Item("21", "Methods: testing data", "intended size of the test set",
         authors="how the size was set; what it came to is in the report"),
    Item("22", "Methods: model", "the model in full detail", ("card:Model Details", "file:config.yaml"), needs="run"),
    Item("23", "Methods: model", "software, libraries, versions",
         ("card:Model Details", "page:How it was made", "file:environment.json"), needs="run"),
    Item("24", "Methods: model", "starting weights or pretraining", ("card:Model Details", "file:config.yaml"), needs="run"),
    Item("25", "Methods: training", "how training was done",
         ("card:Model Details", "card:Training Data", "file:config.yaml", "file:log.jsonl"), needs="run"),
    Item("26", "Methods: training", "how the final model was chosen",
         ("card:Model Details", "page:Learning curves", "file:log.jsonl"), needs="run"),
    Item("27", "Methods: training", "combining of several models",
         ("card:Model Details", "file:config.yaml"), "whether the judged scores are those of an ensemble", "run"),
    Item("28", "Methods: evaluation", "performance measures used", ("card:Metrics",)),
    Item("29", "Methods: evaluation", "uncertainty and significance methods", ("card:Metrics", "file:report/metrics.json")),
    Item("30", "Methods: evaluation", "robustness or sensitivity analyses",
         ("page:Subgroups", "page:Operating points", "page:Cross-validation"), "tests under other conditions, such as other scanners"),
    Item("31", "Methods: evaluation", "explanation methods, if any", authors="the report has none; name any that were used"),
    Item("32", "Methods: evaluation", "testing on internal data", ("page:Headline", "card:Evaluation Data"), needs="own"),
    Item("33", "Methods: evaluation", "testing on external data",
         ("page:Headline", "card:Evaluation Data"), "in how far these data are external", "other"),
    Item("34", "Methods: evaluation", "clinical trial registration", authors="the registration, or that there is none"),
    Item("35", "Results: data", "numbers included and excluded",
         ("page:Data", "file:excluded.csv", "file:split.csv"), "the flow before mammo read the tables", "run"),
    Item("36", "Results: data", "case characteristics by partition",
         ("page:Data", "page:Subgroups"), "age and other characteristics that no table holds", "run"),
    Item("37", "Results: model performance", "measured performance with uncertainty",
         ("page:Headline", "page:Ranking", "card:Quantitative Analyses", "file:report/metrics.json")),
    Item("38", "Results: model performance", "diagnostic accuracy and its precision",
         ("page:Operating points", "card:Quantitative Analyses", "file:report/metrics.json")),
    Item("39", "Results: model performance", "analysis of wrong results",
         ("page:Hardest mistakes", "page:Operating points"), "what the mistakes have in common"),
    Item("40", "Discussion", "limitations", ("card:Caveats and Recommendations",), "what limits the study beyond that"),
    Item("41", "Discussion", "meaning for practice", authors="the discussion"),
    Item("42", "Other information", "full protocol or more detail", authors="where the protocol is"),
    Item("43", "Other information", "access to code, model, data", authors="where code, weights and data can be had"),
    Item("44", "Other information", "funding and the funders' role", authors="the funding"),
)

TRIPOD = (
    Item("1", "Title", "names prediction model, population, outcome", authors="the title"),
    Item("2", "Abstract", "follows the abstracts checklist", authors="the abstract"),
    Item("3a", "Introduction: background", "clinical setting, rationale, existing models", authors="the introduction"),
    Item("3b", "Introduction: background", "whom it is for, purpose, users", ("card:Intended Use",), "the place in the care pathway"),
    Item("3c", "Introduction: background", "known health inequalities", authors="the introduction"),
    Item("4", "Introduction: objectives", "aims: develop, evaluate or both", authors="the aims"),
    Item("5a", "Methods: data", "data sources, reasons, representativeness", ("card:Evaluation Data",), "why these data", "cbis"),
    Item("5b", "Methods: data", "dates of data collection", authors="the dates of the films"),
    Item("6a", "Methods: participants", "setting, number and place of centres", ("card:Factors",), "the centres", "cbis"),
    Item("6b", "Methods: participants", "eligibility",
         ("page:Data", "file:excluded.csv"), "how patients were chosen before mammo read them", "run"),
    Item("6c", "Methods: participants", "treatments and their handling", authors="treatments, or that none are known"),
    Item("7", "Methods: data preparation", "preprocessing and quality checks",
         ("card:Evaluation Data", "file:config.yaml", "file:excluded.csv"), needs="run"),
    Item("8a", "Methods: outcome", "outcome definition, timing, assessment",
         ("card:Evaluation Data",), "when and how the outcome was assessed", "cbis"),
    Item("8b", "Methods: outcome", "outcome assessors' background", authors="who assessed"),
    Item("8c", "Methods: outcome", "blinding of outcome assessment", authors="whether assessors knew the predictions"),
    Item("9a", "Methods: predictors", "first choice of predictors", ("card:Model Details",), needs="run"),
    Item("9b", "Methods: predictors", "predictor definitions and measurement",
         ("card:Model Details", "card:Evaluation Data"), "how the films were taken", "run"),
    Item("9c", "Methods: predictors", "predictor assessors' background", authors="who drew the boxes or masks"),
    Item("10", "Methods: sample size", "how study size was set", authors="how the size was set"),
    Item("11", "Methods: missing data", "handling of missing data",
         ("card:Evaluation Data", "file:excluded.csv"), "what was missing before mammo read the tables", "run"),
    Item("12a", "Methods: analysis", "use and partition of data", ("card:Evaluation Data", "file:split.csv"), needs="run"),
    Item("12b", "Methods: analysis", "form and scaling of predictors", ("card:Evaluation Data", "file:config.yaml"), needs="run"),
    Item("12c", "Methods: analysis", "model type, building, tuning, internal validation",
         ("card:Model Details", "page:Learning curves", "page:Cross-validation", "file:config.yaml", "file:log.jsonl"),
         "which other settings were tried", "run"),
    Item("12d", "Methods: analysis", "heterogeneity across clusters",
         ("page:Subgroups", "card:Metrics"), "whether the source of the films stands for the centre", "sources"),
    Item("12e", "Methods: analysis", "performance measures and plots",
         ("card:Metrics", "page:Ranking", "page:Calibration")),
    Item("12f", "Methods: analysis", "updating or recalibrating the model", ("card:Metrics", "file:decision.json"), needs="run"),
    Item("12g", "Methods: analysis", "how predictions were computed",
         ("card:Model Details", "file:config.yaml", "file:scores"), needs="run"),
    Item("13", "Methods: class imbalance", "imbalance methods and recalibration after",
         ("card:Training Data", "card:Metrics", "file:config.yaml", "file:decision.json"), needs="run"),
    Item("14", "Methods: fairness", "approaches to fairness",
         ("card:Factors", "page:Subgroups"), "groups that no table names, such as age or ethnicity"),
    Item("15", "Methods: model output", "output kind, thresholds and reasons",
         ("card:Metrics", "page:Operating points", "file:decision.json"), "why this operating point"),
    Item("16", "Methods: training versus evaluation", "differences between the two data sets",
         ("card:Training Data", "page:Data"), "differences of setting, eligibility and outcome", "run"),
    Item("17", "Methods: ethical approval", "ethics approval and consent", authors="the approval and consent, or why none is needed"),
    Item("18a", "Open science: funding", "funding and funders' role", authors="the funding"),
    Item("18b", "Open science: conflicts of interest", "competing interests", authors="the interests"),
    Item("18c", "Open science: protocol", "where the protocol is", authors="where it is, or that there is none"),
    Item("18d", "Open science: registration", "study registration", authors="the registration, or that there is none"),
    Item("18e", "Open science: data sharing", "availability of data", ("card:Evaluation Data",), "where the data can be had", "cbis"),
    Item("18f", "Open science: code sharing", "availability of analysis code", authors="where the code can be had"),
    Item("19", "Patient and public involvement", "involvement, or that there was none", authors="the involvement"),
    Item("20a", "Results: participants", "flow, with and without outcome",
         ("page:Data", "file:excluded.csv"), "the flow before mammo read the tables, and follow-up", "run"),
    Item("20b", "Results: participants", "characteristics, by source and group",
         ("page:Data", "page:Subgroups"), "age and other characteristics that no table holds"),
    Item("20c", "Results: participants", "comparison with development data",
         ("page:Data", "card:Training Data"), "predictors beyond the counts", "run"),
    Item("21", "Results: model development", "numbers and events per analysis",
         ("page:Headline", "page:Data", "file:report/metrics.json")),
    Item("22", "Results: model specification", "full model and access to it",
         ("file:config.yaml", "file:checkpoints/best"), "where others can have the weights", "run"),
    Item("23a", "Results: model performance", "performance with intervals, by subgroup",
         ("page:Headline", "page:Operating points", "page:Calibration", "page:Subgroups", "file:report/metrics.json")),
    Item("23b", "Results: model performance", "heterogeneity across clusters",
         ("page:Subgroups",), "whether the source of the films stands for the centre", "sources"),
    Item("24", "Results: model updating", "results of updating", ("page:Calibration", "card:Quantitative Analyses"), needs="run"),
    Item("25", "Discussion: interpretation", "overall meaning, fairness included", authors="the discussion"),
    Item("26", "Discussion: limitations", "limitations and their effects",
         ("card:Caveats and Recommendations",), "what limits the study beyond that"),
    Item("27a", "Discussion: usability", "poor or missing input data",
         ("card:Evaluation Data",), "what to do with such input in use", "run"),
    Item("27b", "Discussion: usability", "users' interaction and expertise needed",
         ("card:Intended Use",), "what users must know and do"),
    Item("27c", "Discussion: usability", "next steps for research", authors="the discussion"),
)

# Of the model card: labels and phrases, those in braces filled in by what a run was.
ABOUT = (
    "Research software, not a medical device: it must not guide anyone's care. Written by mammo {version} from the score table and, where "
    "there is one, from the files of the run; the numbers are those of `metrics.json`."
)
TASKS = {
    "lesion": "one lesion in one view, marked by a box",
    "image": "one film",
    "breast": "one breast, from its CC and MLO films, of which one may be missing",
}
DATA = {
    "cbis_ddsm": "CBIS-DDSM (Lee et al., Scientific Data 2017;4:170177); licence CC BY 3.0. It is retrospective: films of known outcome, "
    "among which cancers are far more frequent than in screening.",
    "phantom": "PHANTOM: films generated by mammo, of no patient; no licence is needed.",
    "manifest": "the user's own, named by a manifest; the licence of those data applies.",
    "outside": "the user's own, in a score table; the licence of those data applies.",
    "unsaid": "not known here, beyond what the title says.",
}
CBIS_FILMS = "screen films of about 1988 to 1999 from sites in the United States, scanned: no digital mammograms, no tomosynthesis."
CBIS_STANDARD = (
    "malignant is what pathology proved; benign is so by pathology, in some cases by other means. BENIGN_WITHOUT_CALLBACK was held benign "
    "on the screening films alone."
)
SPLITS = {
    "official": "the source's own training and test files; validation drawn from training",
    "official_clean": "the source's own training and test files, patients in both dropped from {side}; validation drawn from training",
    "manifest": "the manifest's own column",
    "holdout": "drawn by patient, stratified by label and number of cases",
}
JUDGED = {
    "outside": "a score table from outside; how its cases were chosen is not known.",
    "folds": "the cases of a cross-validation, each scored by the fold that had not seen its patient.",
    "own": "the run's own test part, on which the run chose nothing.",
    "other": "another data set than the one that the run was trained on.",
    "unsaid": "as the title says; whether they are the run's own test part is not known here.",
}
PARTS_TOLD = {"own": "the table under Evaluation Data has their size; ", "folds": "each fold's "}
BAD_IMAGES = {"refuse": "stops the run", "exclude": "is left out and listed"}
CALLBACK = {"benign": "count as benign", "exclude": "are left out"}
INTENSITY = {"percentile": "are stretched between percentiles of the breast's own tissue", "full": "are left as they are"}
PEOPLE = (
    ("Developers and contact", "who made the model, and where questions go."),
    ("Paper and citation", "what to read, and how to cite it."),
    ("Licence of the model", "under which its weights are given; the code of mammo is under MIT."),
)
RECIPE = (
    "{optimizer.name}, learning rate {optimizer.learning_rate:g} ({schedule.name}, warm-up epochs {schedule.warmup_epochs:g}), weight "
    "decay {optimizer.weight_decay:g}; {training.epochs} epochs at most, in batches of {batch}; {loss.name}, label smoothing "
    "{loss.label_smoothing:g}, mixup {training.mixup_alpha:g}; moving average of the weights {training.ema_decay:g}; seed {seed}. The rest "
    "is in `config.yaml`."
)
USE = (
    ("Use", "research on mammogram classifiers, looking back at films whose outcome is known."),
    ("Users", "researchers who read intervals, and know how the films were chosen."),
    ("Out of scope", "diagnosis, triage, screening, any decision about a person.{place}"),
)
NO_PLACE = {
    "lesion": " It does not find lesions: without a box it gives no answer.",
    "image": " It does not say where on the film a lesion is.",
    "breast": " It does not say where in the breast a lesion is.",
}
METRICS = (
    ("Measures", "AUC and average precision rank; recall (sensitivity), specificity, PPV, NPV and accuracy need an operating point. "
     "Recall there is what counts, not accuracy: where most cases are benign, calling none malignant is accurate."),
    ("Operating point", "{chosen} A score at or above the threshold is called malignant."),
    ("Calibration", "{calibrated} It is measured by Brier score, expected calibration error (ECE; 15 equally wide bins), slope and "
     "intercept. Judging changes nothing."),
    ("Levels", "the score of a film, breast or patient is the {level_score} of its cases' scores; it is malignant where one of them is."),
    ("Uncertainty", "95 % intervals are percentiles of {resamples:,} bootstrap resamples of patients, each with all cases (seed {seed}); "
     "for the AUC also DeLong's, in Obuchowski's form for several cases a patient."),
    ("Screening", "what 1,000 people would see assumes that {ill:g} of them have cancer, and that the recall and specificity of the level "
     "patient carry over, which no result here shows."),
    ("Groups", "of fewer than {few} malignant cases are marked: their intervals are too wide to compare."),
)
PREPARATION = (
    ("Preprocessing", "the film is turned so that its chest wall is on the left, {cut}, and resized to {height}×{width} px; gray levels "
     "{gray}."),
    ("Missing data", "a lesion without a label, or without box and mask, and a film without a label are left out and listed; a breast with "
     "one of its two films is judged by that one; an empty subgroup value counts as unknown; a film that cannot be read {bad} "
     "(`data.bad_images`)."),
    ("Labels", "BENIGN_WITHOUT_CALLBACK lesions {callback} (`data.benign_without_callback`)."),
)
ETHICS = (
    ("Lives", "a missed cancer is treated late; a false alarm means more images, biopsies and fear. At the main operating point {missed} "
     "of {malignant} malignant cases were missed, and {alarms} of {benign} benign ones called malignant."),
    ("Data about people", "score tables and `split.csv` hold patient ids; they must be pseudonyms before any of them is shared."),
    ("Harm", "to use it where films, people or prevalence differ, or to let it decide, can do harm that no number here shows."),
)
LEVEL_HEADER = ("level", "n", "malignant", "patients", "threshold", "AUC", "AUC, DeLong", "average precision", "recall", "specificity")
POINT_HEADER = ("rule", "threshold", "recall", "specificity", "PPV", "NPV", "accuracy", "TP", "FP", "TN", "FN")
SCREENING_HEADER = ("rule", "called back", "cancers found", "cancers missed", "PPV", "NPV")
GROUP_HEADER = ("group", "value", "n", "malignant", "patients", "AUC", "recall", "specificity", "remark")
# fmt: on
