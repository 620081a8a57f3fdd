"""Films in, probabilities out: `python tools/predict.py film.dcm --box 1200,800,300,260` asks the newest run's best network,
`python tools/predict.py FOLDER --export DIR` an exported one, for a CSV."""

from pathlib import Path

from mammo.commands.shared import Parser, add_cluster, add_run_options, at_least, parse_box, run, say_where_run


def main() -> None:
    """Print a line per film, or write a CSV."""
    parser = Parser(description=__doc__)
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="DICOM, PNG, JPEG or PGM; with --export also folders"
    )
    parser.add_argument(
        "--box", type=parse_box, metavar="X,Y,W,H", help="the lesion's place in pixels; a lesion model needs it"
    )
    add_run_options(parser)
    group = parser.add_argument_group("asking an exported network")
    group.add_argument("--export", type=Path, metavar="DIR", help="a folder that tools/export.py made")
    group.add_argument(
        "--boxes", type=Path, metavar="CSV", help="lesions: image, x, y, width, height, such as a manifest"
    )
    group.add_argument(
        "--out", type=Path, metavar="CSV", help="write here (default: stdout); a run that was killed goes on"
    )
    group.add_argument(
        "--engine",
        default="auto",
        metavar="NAME",
        help="openvino, onnxruntime or paddle (default: the first proved one)",
    )
    group.add_argument("--workers", type=at_least(0), default=0, metavar="N", help="processes (default: one per core)")
    group.add_argument("--untrusted", action="store_true", help="decode in processes of their own, with limits")
    add_cluster(parser)
    arguments = parser.parse_args()
    if arguments.export:
        from mammo.serving.predict_command import predict_with_export

        return predict_with_export(arguments)
    folder = say_where_run(arguments)
    from mammo.inference.predict_command import predict_with_run

    return predict_with_run(arguments, folder)


if __name__ == "__main__":
    run(main)
