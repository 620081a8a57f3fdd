"""One image in, probability out: `python tools/predict.py film.dcm --box 1200,800,300,260` asks the newest run's best network."""

from pathlib import Path

from mammo.command import Parser, add_run_options, parse_box, run, say_where_run


def main() -> None:
    """Print a line per file."""
    parser = Parser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="DICOM, PNG, JPEG or PGM")
    parser.add_argument("--box", type=parse_box, metavar="X,Y,W,H", help="the lesion's place in pixels; a lesion model needs it")
    add_run_options(parser)
    arguments = parser.parse_args()
    folder = say_where_run(arguments)
    from mammo.evaluation.operating_point import in_words
    from mammo.inference.load import load_run, predict_file

    loaded = load_run(folder)
    if loaded.settings.data.kind == "phantom":
        print("PHANTOM: this network has seen generated films only; what it says of a real film means nothing")
    for file in arguments.files:
        score = predict_file(loaded, file, box=arguments.box)
        print(f"{file}: probability of malignancy {score:.3f}; {in_words(score, loaded.decision)}")
    print("This is research software, not a medical device; it does not replace a radiologist.")


if __name__ == "__main__":
    run(main)
