"""Folds, ensembles and test-time augmentation on small films: every case once, each fold a run of its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo.cases.splits import split_sha256
from mammo.errors import DataMissingError, ScoreError, SettingsError, SplitError
from mammo.evaluation.operating_point import make_decision
from mammo.evaluation.scores import read_scores
from mammo.files import read_json, write_json
from mammo.images.network_input import Variant, apply_variant, variants
from mammo.inference.decision_file import read_decision as decision_of
from mammo.inference.load import load_run, predict_with_remarks
from mammo.inference.score import score_part
from mammo.judging.comparison import compare_paths
from mammo.judging.cross_validation import judge_folds
from mammo.judging.judged import Judged
from mammo.judging.run_folder import judge_ensemble, judge_run_folder, prepare_manifest
from mammo.report.runs import list_runs
from mammo.report.text import show_judged
from mammo.runs import fold_folder, mark_cross_validation, run_fingerprint
from mammo.serving.predictor import open_export
from mammo.settings.load import load_settings
from mammo.settings.schema import TestTimeSettings
from mammo.training.fit import fit
from mammo.training.folds import cross_validate, of_fold, train
from mammo.training.on_all import train_on_all
from tests.processes import call, command, kill, only_run, refused, settings_file, start
from tests.tiny import tiny_settings, write_films

QUICK = {"resamples": 100}


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Judged]:
    folder = tmp_path_factory.mktemp("folds")
    write_films(folder)
    return folder, cross_validate(tiny_settings(folder, training__epochs=1, evaluation=QUICK), "tiny", folds=3)


def test_every_case_is_judged_once_by_a_fold_without_its_patient(crossed: tuple[Path, Judged]) -> None:
    folder, judged = crossed
    manifest = pd.read_csv(folder / "manifest.csv")
    scores = read_scores(judged.out / "scores_out_of_fold.csv")
    assert sorted(scores["case_id"]) == sorted(manifest["lesion_id"])
    for fold in range(3):
        split = pd.read_csv(fold_folder(judged.out, fold) / "split.csv")
        learnt = set(split.loc[split["part"] != "test", "patient_id"])
        assert learnt.isdisjoint(scores.loc[scores["fold"] == fold, "patient_id"])
    assert judged.judgement.own.n == len(manifest)


def test_mean_of_folds_is_reported_with_the_pooled_scores(crossed: tuple[Path, Judged]) -> None:
    _, judged = crossed
    written = json.loads((judged.out / "report" / "metrics.json").read_text(encoding="utf-8"))
    aucs = [fold["levels"]["lesion"]["auc"]["value"] for fold in written["folds"]]
    over = written["over_folds"]["lesion"]["auc"]
    assert over == {"mean": pytest.approx(np.mean(aucs)), "deviation": pytest.approx(np.std(aucs, ddof=1)), "folds": 3}
    assert written["levels"]["lesion"]["n"] == 48
    assert written["operating_point"]["folds"]["1"]["threshold"] == judged.folds[1].decision.threshold


def test_a_fold_is_the_run_that_its_settings_describe(crossed: tuple[Path, Judged], tmp_path: Path) -> None:
    folder, judged = crossed
    settings = tiny_settings(folder, training__epochs=1, evaluation=QUICK, output=str(tmp_path))
    alone = fit(of_fold(settings, 3, 1), "alone").run
    for file in ("scores_test.csv", "scores_validation.csv"):
        first, second = (
            read_scores(run / file).drop(columns="model_id") for run in (alone, fold_folder(judged.out, 1))
        )
        pd.testing.assert_frame_equal(first, second, rtol=1e-5)


def test_judging_folds_again_gives_the_same(crossed: tuple[Path, Judged]) -> None:
    _, judged = crossed
    again = judge_run_folder(judged.out, output=judged.out.parent)
    assert again.judgement.own == judged.judgement.own


def test_some_folds_alone_are_judged_compared_and_shown_by_their_numbers(
    crossed: tuple[Path, Judged], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, judged = crossed
    copies = [shutil.copytree(judged.out, tmp_path / name) for name in ("first", "second")]
    for copy in copies:
        shutil.rmtree(copy / "fold_1")
        mark_cross_validation(copy, 3, only=[0, 2])
        some = judge_folds(copy)
    expected = judged.scores[judged.scores["fold"] != 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(some.scores, expected)
    assert some.about.endswith("2 of 3 folds pooled")
    assert some.judgement.own.n == compare_paths(copies)[1][0].n == len(expected)
    show_judged(some)
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("fold ")] == ["0", "2"]
    assert list_runs(tmp_path)[0][1].startswith(str(len(expected)))
    mark_cross_validation(copies[0], 3)
    with pytest.raises(DataMissingError, match=r"fold_1: this fold has not ended"):
        judge_folds(copies[0])
    write_json(copies[0] / "cross_validation.json", {"folds": 3, "only": [3]})
    with pytest.raises(DataMissingError, match=r"only: expected a list of folds from 0 to 2, got \[3\]"):
        judge_folds(copies[0])


def test_folds_are_an_ensemble_on_other_films(crossed: tuple[Path, Judged], tmp_path: Path) -> None:
    _, judged = crossed
    other = write_films(tmp_path, patients=9)
    ensemble = judge_run_folder(judged.out, output=tmp_path / "output", manifest=other)
    tables = [
        judge_run_folder(
            fold_folder(judged.out, fold), output=tmp_path, manifest=other, out=tmp_path / f"{fold}"
        ).scores
        for fold in range(3)
    ]
    np.testing.assert_allclose(
        ensemble.scores["logit"], np.mean([table["logit"] for table in tables], axis=0), rtol=1e-5
    )
    assert ensemble.judgement.decision.part == "out-of-fold"
    assert ensemble.judgement.decision.cases == 48
    assert ensemble.known_patients == tuple(f"P{number:02d}" for number in range(9))


def test_members_of_an_ensemble_see_films_as_they_were_trained(tmp_path: Path) -> None:
    write_films(tmp_path)
    runs = [
        fit(
            tiny_settings(
                tmp_path, data__image_size=[side, side], data__context=context, training__epochs=1, evaluation=QUICK
            ),
            f"s{side}",
        ).run
        for side, context in ((32, 2.0), (48, 3.0))
    ]
    (tmp_path / "other").mkdir()
    other = write_films(tmp_path / "other", patients=6)
    text = other.read_text(encoding="utf-8").replace(",16,16", ",,", 1).replace("L00CC", "L00XX")
    other.write_text(
        "\n".join(line if "L00XX" not in line else line.rsplit(",", 4)[0] + ",,,," for line in text.splitlines()) + "\n"
    )
    both = judge_ensemble(runs, output=tmp_path / "output", manifest=other, out=tmp_path / "both")
    tables = [
        judge_run_folder(run, output=tmp_path, manifest=other, out=tmp_path / run.parent.name).scores for run in runs
    ]
    np.testing.assert_allclose(both.scores["logit"], np.mean([table["logit"] for table in tables], axis=0), rtol=1e-5)
    assert list(both.excluded["case"]) == ["L00XX"]


def test_folds_of_damaged_or_other_cases_are_refused(crossed: tuple[Path, Judged], tmp_path: Path) -> None:
    _, judged = crossed
    copy = shutil.copytree(judged.out, tmp_path / "copy")
    table = pd.read_csv(copy / "fold_1" / "scores_test.csv")
    table.iloc[3:].to_csv(copy / "fold_1" / "scores_test.csv", index=False)
    with pytest.raises(
        ScoreError,
        match=r"fold_1/scores_test.csv: has 13 cases that are not the 16 of the run's test part; judge it again: mammo",
    ):
        judge_folds(copy)
    table.to_csv(copy / "fold_1" / "scores_test.csv", index=False)
    split = pd.read_csv(copy / "fold_2" / "split.csv").iloc[1:]
    split.to_csv(copy / "fold_2" / "split.csv", index=False)
    with pytest.raises(DataMissingError, match=r"fold_2/split.csv: is not as this run wrote it"):
        judge_folds(copy)
    environment = read_json(copy / "fold_2" / "environment.json") | {"split_sha256": split_sha256(split)}
    write_json(copy / "fold_2" / "environment.json", environment)
    with pytest.raises(ScoreError, match=r"fold_2: was made from another data set than the first fold"):
        judge_folds(copy)


def test_folds_have_no_common_test_part(crossed: tuple[Path, Judged], tmp_path: Path) -> None:
    _, judged = crossed
    with pytest.raises(
        SplitError, match=r"its folds have no common test part; judge their ensemble on another data set with --data"
    ):
        judge_ensemble([judged.out], output=tmp_path)


def test_seeds_are_an_ensemble_on_their_common_test_part(tmp_path: Path) -> None:
    write_films(tmp_path)
    runs = [
        fit(tiny_settings(tmp_path, seed=seed, training__epochs=1, evaluation=QUICK), f"seed{seed}").run
        for seed in (0, 1)
    ]
    judged = judge_ensemble(runs, output=tmp_path / "output")
    logits = [read_scores(run / "scores_test.csv").set_index("case_id")["logit"] for run in runs]
    found = judged.scores.set_index("case_id")["logit"]
    np.testing.assert_allclose(found, ((logits[0] + logits[1]) / 2).loc[found.index])
    assert judged.judgement.decision.part == "validation"
    assert json.loads((judged.out / "ensemble.json").read_text(encoding="utf-8"))["members"] == [
        str(run) for run in runs
    ]
    with pytest.raises(SplitError, match="an ensemble needs at least two runs"):
        judge_ensemble(runs[:1], output=tmp_path / "output")
    other = fit(tiny_settings(tmp_path, data__split_seed=5, training__epochs=1, evaluation=QUICK), "other").run
    with pytest.raises(SplitError, match="their splits differ"):
        judge_ensemble([runs[0], other], output=tmp_path / "output")


@pytest.mark.slow
def test_killed_in_a_fold_it_goes_on_there_to_the_same_end(tmp_path: Path) -> None:
    write_films(tmp_path)
    whole, config = (settings_file(tmp_path, name, training__epochs=2) for name in ("whole", "killed"))
    assert call(command("train", "-c", whole, "--folds", "2")).returncode == 0
    train = command("train", "-c", config, "--folds", "2")
    kill(start(train), lambda: any((tmp_path / "killed" / "killed").glob("2*/fold_1/checkpoints/last")))
    run, unbroken = only_run(tmp_path, "killed"), only_run(tmp_path, "whole")
    before = (run / "fold_0" / "scores_test.csv").stat().st_mtime_ns
    changed = call([*train, "--resume", "-o", "training.epochs=3"])
    refused(changed, "a resumed run keeps its settings: training.epochs was 2, is now 3")
    done = call([*train, "--resume"])
    assert done.returncode == 0, done.stderr
    assert "fold 1 of 2: is done" in done.stdout
    assert (run / "fold_0" / "scores_test.csv").stat().st_mtime_ns == before
    for fold in range(2):
        assert run_fingerprint(fold_folder(run, fold)) == run_fingerprint(fold_folder(unbroken, fold))
    tables = [read_scores(place / "scores_out_of_fold.csv").drop(columns="model_id") for place in (run, unbroken)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert len(tables[0]) == 48
    assert "pooled" in done.stdout
    assert (run / "report" / "index.html").is_file()


def test_folds_of_a_given_split_are_refused(tmp_path: Path) -> None:
    write_films(tmp_path)
    settings = tiny_settings(tmp_path)
    given = settings.model_copy(update={"data": settings.data.model_copy(update={"split": "manifest"})})
    with pytest.raises(SettingsError, match=r"folds are drawn by data\.split=holdout, got manifest"):
        cross_validate(given, "tiny", folds=2)


def test_failed_start_of_folds_leaves_no_folder(tmp_path: Path) -> None:
    write_films(tmp_path)
    with pytest.raises(SplitError, match="expected 2 to 24"):
        cross_validate(tiny_settings(tmp_path), "tiny", folds=100)
    assert not (tmp_path / "output" / "tiny").exists()


def test_a_data_set_that_changed_is_reported_before_training(crossed: tuple[Path, Judged], tmp_path: Path) -> None:
    folder, judged = crossed
    copy = shutil.copytree(judged.out, tmp_path / "copy")
    shutil.rmtree(copy / "fold_2")
    write_films(tmp_path, patients=20)
    config = copy / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace(str(folder), str(tmp_path)), encoding="utf-8")
    settings = load_settings(config)
    with pytest.raises(SplitError, match=r"the data set has changed since its first fold \(48 cases then, 40 now\)"):
        cross_validate(settings, "tiny", resume=copy)
    assert not (copy / "fold_2").exists()
    with pytest.raises(DataMissingError, match=r"fold_2: this fold has not ended; go on with mammo train --resume"):
        judge_folds(copy)


def test_judgements_elsewhere_and_ensembles_hold_no_network(crossed: tuple[Path, Judged], tmp_path: Path) -> None:
    _, judged = crossed
    other = judge_run_folder(
        judged.out, output=tmp_path, out=tmp_path / "again", overrides=["evaluation.operating_point=youden"]
    )
    with pytest.raises(DataMissingError, match="holds no network; it is a judgement: name its run"):
        load_run(fold_folder(other.out, 0))
    with pytest.raises(SettingsError, match=r"--out .*fold_0: is another run, whose results would be replaced"):
        judge_run_folder(
            judged.out, output=tmp_path, out=fold_folder(judged.out, 0), overrides=["evaluation.operating_point=youden"]
        )


def test_resuming_with_another_number_of_folds_is_refused(crossed: tuple[Path, Judged]) -> None:
    folder, judged = crossed
    with pytest.raises(SettingsError, match="has 3 folds, got --folds 4"):
        train(tiny_settings(folder), "tiny", folds=4, resume=judged.out)


@pytest.mark.parametrize(
    ("flips", "shift", "count"), [("none", 0, 1), ("horizontal", 0, 2), ("both", 0, 4), ("both", 3, 20)]
)
def test_variants_are_all_combinations(flips: str, shift: int, count: int) -> None:
    found = variants(TestTimeSettings(flips=flips, shift_px=shift))
    assert len(set(found)) == len(found) == count
    assert found[0] == Variant()


def test_variant_moves_the_window_and_turns_it() -> None:
    image = np.arange(36, dtype=np.float32).reshape(6, 6)
    np.testing.assert_array_equal(apply_variant(image, (2, 2)), [[14, 15], [20, 21]])
    np.testing.assert_array_equal(apply_variant(image, (2, 2), Variant(shift=(1, 2))), [[22, 23], [28, 29]])
    np.testing.assert_array_equal(apply_variant(image, (2, 2), Variant(shift=(-2, 0))), [[2, 3], [8, 9]])
    np.testing.assert_array_equal(apply_variant(image, (2, 2), Variant(shift=(0, -3))), [[0, 12], [0, 18]])
    np.testing.assert_array_equal(apply_variant(image, (2, 2), Variant(mirrored=True)), [[15, 14], [21, 20]])
    np.testing.assert_array_equal(apply_variant(image, (2, 2), Variant(upside_down=True)), [[20, 21], [14, 15]])


def test_a_file_scores_alike_with_many_variants(tmp_path: Path) -> None:
    write_films(tmp_path)
    plain = fit(tiny_settings(tmp_path, training__epochs=1, evaluation=QUICK), "plain")
    settings = tiny_settings(
        tmp_path, training__epochs=1, evaluation=QUICK | {"test_time": {"flips": "both", "shift_px": 2}}
    )
    result = fit(settings, "variants")
    row = result.scores.iloc[0]
    line = next(
        line
        for line in (tmp_path / "manifest.csv").read_text(encoding="utf-8").splitlines()
        if f",{row['case_id']}," in line
    )
    *_, x, y, width, height = line.split(",")
    score, _ = predict_with_remarks(
        load_run(result.run), tmp_path / line.split(",")[0], box=(float(x), float(y), float(width), float(height))
    )
    assert score == pytest.approx(row["score"], abs=1e-6)
    assert not np.allclose(result.scores["logit"], plain.scores["logit"])


def test_a_run_is_judged_anew_under_other_evaluation_settings(crossed: tuple[Path, Judged], tmp_path: Path) -> None:
    _, judged = crossed
    changed = [
        "evaluation.test_time.flips=both",
        "evaluation.calibration=isotonic",
        "evaluation.operating_point=youden",
    ]
    other = judge_run_folder(judged.out, output=tmp_path, out=tmp_path / "flips", overrides=changed)
    assert other.judgement.decision.rule == "youden"
    assert other.judgement.decision.calibrator.method == "isotonic"
    assert not np.allclose(other.scores["logit"], judged.scores["logit"])
    systems, pairs = compare_paths([judged.out, tmp_path / "flips"])
    assert [system.name.rpartition("/")[2] for system in systems] == [judged.out.name, "flips"]
    assert pairs[0].n == 48
    with pytest.raises(SettingsError, match=r"only evaluation\.… can be changed when a run is judged, got seed=3"):
        judge_run_folder(judged.out, output=tmp_path, out=tmp_path / "x", overrides=["seed=3"])
    with pytest.raises(SettingsError, match=r"name a folder with --out"):
        judge_run_folder(judged.out, output=tmp_path, overrides=changed)


@pytest.fixture(scope="module")
def on_all(crossed: tuple[Path, Judged]) -> Path:
    folder, judged = crossed
    return train_on_all(judged.out, folder / "all")


def test_run_on_all_learns_from_every_case_and_decides_out_of_fold(crossed: tuple[Path, Judged], on_all: Path) -> None:
    _, judged = crossed
    split = pd.read_csv(on_all / "split.csv")
    assert sorted(split["case_id"]) == sorted(judged.scores["case_id"])
    assert set(split["part"]) == {"train"}
    by_hand, _ = make_decision(judged.scores, judged.settings.evaluation, task="lesion", part="out-of-fold")
    decision = load_run(on_all).decision
    assert (decision.part, decision.cases) == ("out-of-fold", 48)
    assert decision.points == by_hand.points
    assert decision.calibrator == by_hand.calibrator


def test_run_on_all_trains_for_the_median_of_the_best_epochs(crossed: tuple[Path, Judged], on_all: Path) -> None:
    _, judged = crossed
    best = [read_json(fold_folder(judged.out, fold) / "checkpoints/best/state.json")["epoch"] for fold in range(3)]
    log = (on_all / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(log) == np.median(best)
    assert read_json(on_all / "checkpoints/best/state.json")["epoch"] == np.median(best)


def test_run_on_all_predicts_and_can_be_exported(crossed: tuple[Path, Judged], on_all: Path) -> None:
    folder, _ = crossed
    score, _ = predict_with_remarks(load_run(on_all), folder / "00_CC.png", box=(20.0, 30.0, 16.0, 16.0))
    assert 0 <= score <= 1
    done = call(command("export", on_all, "--out", folder / "export", "--images", "8"))
    assert done.returncode == 0, done.stderr
    results = read_json(folder / "export" / "export_description.json")["results"]
    assert results["lesion"]["n"] == 48


def test_run_on_all_that_was_stopped_goes_on(crossed: tuple[Path, Judged], on_all: Path, tmp_path: Path) -> None:
    again = tmp_path / "tiny_all" / on_all.name
    shutil.copytree(on_all, again)
    (again / "decision.json").unlink()
    assert fit(load_settings(again / "config.yaml"), "tiny", resume=again) is None
    assert load_run(again).decision == load_run(on_all).decision


def test_split_all_without_folds_is_refused(tmp_path: Path) -> None:
    write_films(tmp_path)
    with pytest.raises(SettingsError, match="leaves no part to choose the epoch and the thresholds on"):
        fit(tiny_settings(tmp_path, data__split="all"), "tiny")


def test_on_all_of_a_single_run_is_refused(crossed: tuple[Path, Judged]) -> None:
    _, judged = crossed
    refused(call(command("train", "--on-all", fold_folder(judged.out, 0))), "expected a cross-validation")
    refused(
        call(command("train", "--on-all", judged.out, "-o", "seed=1")), "takes the settings of its folds: remove -o"
    )


def test_ensemble_of_cross_validations_is_judged_out_of_fold(crossed: tuple[Path, Judged], tmp_path: Path) -> None:
    folder, judged = crossed
    wider = tiny_settings(folder, training__epochs=1, evaluation=QUICK, data__context=3.0, seed=1)
    other = cross_validate(wider, "wider", folds=3)
    both = judge_ensemble([judged.out, other.out], output=tmp_path)
    tables = [one.scores.set_index("case_id")["logit"] for one in (judged, other, both)]
    np.testing.assert_allclose(tables[2], (tables[0] + tables[1].loc[tables[0].index]) / 2, rtol=1e-12)
    assert both.judgement.own.n == 48
    assert judge_run_folder_again(both.out) == both.judgement.as_json()["levels"]
    run = train_on_all(both.out, tmp_path / "all")
    done = call(command("export", run, "--out", tmp_path / "export", "--images", "8", "--half"))
    assert done.returncode == 0, done.stderr
    members = [open_export(tmp_path / "export" / f"member_{number}", threads=1) for number in range(2)]
    assert [member.description.form.preprocess.context for member in members] == [2.0, 3.0]
    ensemble = open_export(tmp_path / "export", threads=1)
    film, box = folder / "00_CC.png", (20.0, 30.0, 16.0, 16.0)
    logits = [one.predict(film, (box,))[0].logit for one in (ensemble, *members)]
    assert logits[0] == pytest.approx((logits[1] + logits[2]) / 2, abs=1e-9)
    assert ensemble.description.decision == decision_of(run)
    assert not list((tmp_path / "export").rglob("*.pdiparams"))
    again = train_on_all(both.out, tmp_path / "all")  # as after a kill: its members are not trained again
    assert read_json(again / "ensemble.json") == read_json(run / "ensemble.json")
    elsewhere = judge_run_folder(run, output=tmp_path, manifest=folder / "manifest.csv", out=tmp_path / "elsewhere")
    assert elsewhere.judgement.decision == decision_of(run)
    members = [one.set_index("case_id")["logit"] for one in map(scores_by, read_json(run / "ensemble.json")["members"])]
    found = elsewhere.scores.set_index("case_id")["logit"]
    np.testing.assert_allclose(found, sum(one.loc[found.index] for one in members) / 2, rtol=1e-5, atol=1e-6)
    with pytest.raises(SplitError, match="make no one network"):
        judge_ensemble([judged.out, other.out], output=tmp_path, manifest=folder / "manifest.csv")


def scores_by(member: str) -> pd.DataFrame:
    loaded = load_run(Path(member))
    settings, prepared = prepare_manifest(loaded.settings, loaded.settings.data.manifest)
    return score_part(settings, prepared, loaded.network, part="test")


def judge_run_folder_again(folder: Path) -> object:
    return judge_folds(folder).judgement.as_json()["levels"]


def test_other_data_has_square_pixels_unless_it_says_otherwise(tmp_path: Path) -> None:
    write_films(tmp_path)
    settings = tiny_settings(tmp_path, data__pixel_aspect=0.6)
    _, prepared = prepare_manifest(settings, tmp_path / "manifest.csv")
    assert set(prepared.split.samples.views["pixel_aspect"]) == {1.0}


def test_levels_that_one_system_lacks_cannot_be_compared(tmp_path: Path) -> None:
    rows = [f"c{n},P{n},B{n},I{n},{n % 2},0.{n + 1}" for n in range(8)]
    for name in ("a", "b"):
        head = "case_id,patient_id,breast_id,image_id,label,score\n"
        (tmp_path / f"{name}.csv").write_text(head + "\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(ScoreError, match="--level finding: expected one of lesion, image, breast, patient"):
        compare_paths([tmp_path / "a.csv", tmp_path / "b.csv"], level="finding")
