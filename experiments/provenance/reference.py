"""Keep the small results of a finished scale as the committed reference, and show its claims in the READMEs."""

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.evidence import lineage, reading, rows
from experiments.evidence.manuscript import LARGER
from experiments.evidence.specifications import load_ledger
from experiments.evidence.statistics import FEWEST
from experiments.evidence.tables import markdown, readable
from experiments.runs.errors import UserError, run_main
from experiments.runs.files import sha256, write_json, write_text
from experiments.runs.jobs import captions, drawn
from experiments.runs.validation import read_yaml
from experiments.scale import ROOMS, Settings

SHOWN_SCALES = (*LARGER, "laptop")
"""The scales whose claims the READMEs show. A claim is that of the first one that judges it."""

README = Path("README.md")
CLAIMS = ("<!-- claims: begin -->", "<!-- claims: end -->")
"""Marks around the summary in the README."""

RESULTS = ("<!-- results: begin -->", "<!-- results: end -->")
"""Marks around the claims in the README of a room."""

WORDS = {"hinges": "hinge on a choice"}
"""Verdict -> how a count of it reads."""

WITHHELD = ("figure_3_train_faces",)
"""Neither CelebA nor a folder of somebody's images may be redistributed; only the six faces of Figure 4 are kept."""


def provenance(settings: Settings) -> dict[str, Any]:
    """One summary of all runs of a scale: commits by experiment, versions, machines, data and time.

    Runs may come from several machines as long as no paired difference crosses two of them: all methods of one room and
    seed share a machine.

    Raises:
        UserError: if there are no runs; if a run was made with uncommitted changes, with other versions or data, or on
            another machine than the other methods of its room and seed; or if the code of a method's runs differs.
    """
    files = [folder / "provenance.json" for folder in reading.finished_runs(settings)]
    runs = [reading.read_provenance(file.parent) for file in files]
    if not runs:
        raise UserError(f"{reading.results(settings)}: no runs to keep; run the workflow")
    python = runs[0]["python"]
    versions: dict[str, str] = {}
    data: dict[str, str] = {}
    code: dict[str, str] = {}
    commits: dict[str, set[str]] = {}
    machines: list[dict[str, Any]] = []
    machine_of: dict[str, int] = {}
    for file, run in zip(files, runs, strict=True):
        room, method, seed = file.parts[3:6]
        machine = reading.machine_of(run)
        if machine not in machines:
            machines.append(machine)
        theirs = machines[machine_of.setdefault(f"{room}/{seed}", machines.index(machine))]
        fingerprint = read_yaml(file.with_name("config.yaml"))["code"]
        differing = [key for key in machine if machine[key] != theirs[key]]
        differing += ["python"] if run["python"] != python else []
        for known, told in ((versions, run["versions"]), (data, run["data"])):
            differing += [name for name, value in told.items() if known.setdefault(name, value) != value]
        if code.setdefault(f"{room}/{method}", fingerprint) != fingerprint:  # the rules of methods differ
            differing.append("code")
        if differing or run["dirty"]:
            reason = f"{', '.join(differing)} differ" if differing else "made with uncommitted changes"
            raise UserError(f"{file}: no part of one reproducible set of runs ({reason}); run on a clean clone")
        commits.setdefault(room, set()).add(run["commit"])
    minutes = round(sum(run["times"]["total"] for run in runs) / 60, 1)
    return {
        "scale": settings.scale,
        "runs": len(runs),
        "python": python,
        "versions": versions,
        "machines": machines,
        "machine_of": machine_of,
        "run_provenance": {"/".join(file.parts[3:6]): sha256(file) for file in files},
        "code": code,
        "commits": {room: sorted(hashes) for room, hashes in commits.items()},
        "data": data,
        "one_thread_minutes" if all(map(reading.on_one_thread, runs)) else "minutes": minutes,
    }


def summary_of_claims(ledgers: Mapping[str, Path]) -> str:
    """The claims as the README shows them: how many of the paper's have which verdict, and the headline claims.

    Args:
        ledgers: scale -> its ``claims.csv``, in the order of preference.
    """
    claims = _claims(ledgers)
    paper = claims[claims["family"] == "paper"]
    counts = ", ".join(f"{count} {words}" for words, count in Counter(map(_counted, paper.itertuples())).most_common())
    headlines = {claim.id for claim in load_ledger().claims if claim.headline}
    shown = claims[claims["id"].isin(headlines)]
    shown = shown.assign(claim=shown["statement"].where(shown["family"] == "paper", "*Ours:* " + shown["statement"]))
    columns = {"claim": "claim", "measured": "main specification", "range": "all", "reading": "verdict"}
    table = markdown(shown[list(columns)].rename(columns=columns))
    links = ", ".join(f"[{scale}]({(reading.REFERENCE / scale / 'claims.md').as_posix()})" for scale in ledgers)
    return f"Of {len(paper)} claims of the paper: {counts}.\n\n{table}\nAll claims, by scale: {links}.\n"


def _counted(claim: Any) -> str:
    """How a claim reads in a count of verdicts: a verdict of some specifications beside undecided ones is one in part."""
    some = (
        claim.verdict in ("supported", "contradicted") and claim.supporting + claim.contradicting < claim.specifications
    )
    return f"{WORDS.get(claim.verdict, claim.verdict)}{' in part' if some else ''}"


def room_claims(ledgers: Mapping[str, Path], room: str) -> str:
    """The claims of one room as its README shows them: whose, statement, measurements and verdict."""
    claims = _claims(ledgers)
    rooms = {claim.id: claim.room for claim in load_ledger().claims}
    own = claims[claims["id"].map(rooms) == room]
    columns = {"family": "whose", "statement": "claim", "measured": "main specification"}
    columns |= {"range": "all", "reading": "verdict"}
    return markdown(own[list(columns)].rename(columns=columns))


def _claims(ledgers: Mapping[str, Path]) -> pd.DataFrame:
    """The rows of the first ledger that has a claim, in the order of ``claims.yaml``, with texts for what is shown."""
    claims = pd.concat([reading.claims_of(path) for path in ledgers.values()], ignore_index=True)
    claims = claims.drop_duplicates("id")
    order = {claim.id: position for position, claim in enumerate(load_ledger().claims)}
    claims = claims.sort_values("id", key=lambda ids: ids.map(order), kind="stable").reset_index(drop=True)
    claims["measured"] = readable(claims[["measured", "measured_low", "measured_high"]])["measured"]
    ends = claims[["lowest", "highest"]].to_numpy(float)
    claims["range"] = [f"{low:.3g} to {high:.3g}" if low < high else "" for low, high in ends]
    for column in ("unit", "failed_runs"):
        claims[column] = claims[column].astype(object).fillna("") if column in claims else ""
    claims["measured"] += (" (" + claims["unit"] + ")").where(claims["measured"] != "", "")
    failed = "failed runs: " + claims["failed_runs"].astype(str)
    claims["measured"] = claims["measured"].mask(claims["failed_runs"] != "", failed)
    return claims


def readmes(ledgers: Mapping[str, Path]) -> dict[Path, str]:
    """The READMEs that show claims, with their new text. A room without a README is passed over.

    Args:
        ledgers: scale -> its ``claims.csv``, in the order of preference.

    Raises:
        UserError: if a README lacks the marks between which the claims stand.
    """
    texts = {README: _between(README, CLAIMS, summary_of_claims(ledgers))}
    for room in ROOMS:
        path = Path("experiments", room, "README.md")
        if path.exists() and reading.has_part(room, "findings"):
            texts[path] = _between(path, RESULTS, room_claims(ledgers, room))
    return texts


def shown_ledgers(new: Mapping[str, Path] | None = None) -> dict[str, Path]:
    """The ledgers of `SHOWN_SCALES` that are committed, or in their place those of scales that are about to be kept."""
    committed = {scale: reading.REFERENCE / scale / "claims.csv" for scale in SHOWN_SCALES}
    return {scale: path for scale, path in (committed | dict(new or {})).items() if path.exists()}


def _between(path: Path, marks: tuple[str, str], content: str) -> str:
    """The text of a file with new content between two marks."""
    start, end = marks
    before, found, rest = path.read_text(encoding="utf-8").partition(start)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise UserError(f"{path}: lacks the lines {start} and {end}; put them where the claims shall stand")
    return f"{before}{start}\n{content}{end}{after}"


def kept_files(settings: Settings, folders: Mapping[Path, Path]) -> dict[str, Any]:
    """Kept file -> its SHA-256, and what the record of the file that it is a copy of says: command, time, code, runs.

    Args:
        settings: of the scale.
        folders: place where the files will be -> folder where they are now.
    """
    copied_from = {"results": reading.results(settings), "figures": reading.figures(settings)}
    files: dict[str, Any] = {}
    for place, folder in folders.items():
        for path in sorted(file for file in folder.rglob("*") if file.is_file()):
            name = path.relative_to(folder)
            entry: dict[str, Any] = {"sha256": sha256(path)}
            source = str(copied_from[place.parts[0]] / name)
            record = lineage.record_of(source)
            if record is not None:
                entry |= {"command": record.command, "time": record.time, "made_on": record.made_on}
                entry["runs"] = lineage.counts(sorted(lineage.runs_behind(source)))
            files[(place / name).as_posix()] = entry
    return files


@contextlib.contextmanager
def replaced(*places: Path) -> Iterator[list[Path]]:
    """Yield an empty folder for each place. At the end they replace what is there; on any error all places stay."""
    with contextlib.ExitStack() as stack:
        scratch = []
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            beside = tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent, ignore_cleanup_errors=True)
            scratch.append(Path(stack.enter_context(beside)))
            (scratch[-1] / "new").mkdir()
        yield [folder / "new" for folder in scratch]
        with contextlib.ExitStack() as undo:
            for place, folder in zip(places, scratch, strict=True):
                if place.exists():
                    place.rename(folder / "old")
                    undo.callback((folder / "old").rename, place)
                (folder / "new").rename(place)
                undo.callback(place.rename, folder / "new")
            undo.pop_all()


def results_to_keep(settings: Settings) -> list[str]:
    """Files of the results that a reference keeps as they are. LaTeX is left out, since the CSV files have the numbers.

    ``numbers.json`` is of the manuscript, which only scales with every experiment have. With too few seeds for verdicts
    there is no ledger.
    """
    ledger = ["claims", "specifications"] if _enough_seeds(settings) else []
    tables = [f"tables/{table}" for room in settings.rooms for table in captions(room, "tables")]
    files = [f"{name}{suffix}" for name in (*ledger, *tables) for suffix in (".csv", ".md")]
    return [*files, *(["numbers.json"] if settings.complete else [])]


def _enough_seeds(settings: Settings) -> bool:
    return all(len(section.seeds) >= FEWEST for section in settings.rooms.values() if hasattr(section, "seeds"))


def pictures_to_keep(settings: Settings) -> list[str]:
    """The figures that a reference keeps, as PNG."""
    others = settings.introvae is not None and settings.introvae.dataset != "orl-faces"
    names = [name for room in settings.rooms for name in drawn(settings, room)]
    return [f"{name}.png" for name in names if not (others and name in WITHHELD)]


def keep(settings: Settings) -> None:
    """Keep rows, tables, claims, figures and provenance of a scale, and show the claims of one scale in the READMEs.

    Raises:
        UserError: if the runs are no reproducible set, a result is missing, or a README has no place for the claims.
            The committed reference stays as it was.
    """
    source = reading.results(settings)
    target, pictures = reading.REFERENCE / settings.scale, Path("figures/reference", settings.scale)
    summary = provenance(settings)
    with replaced(target, pictures) as (new, new_pictures):
        write_text(new / "runs.csv", rows.concatenated(settings))
        for name in results_to_keep(settings):
            _copy(source / name, new / name)
        for name in pictures_to_keep(settings):
            _copy(reading.figures(settings) / name, new_pictures / name)
        files = kept_files(settings, {target: new, pictures: new_pictures})
        write_json(new / "provenance.json", summary | {"files": files})
        shown = settings.scale in SHOWN_SCALES
        texts = readmes(shown_ledgers({settings.scale: new / "claims.csv"})) if shown else {}
    for path, text in texts.items():
        write_text(path, text)


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise UserError(f"{source}: missing; run the workflow")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def main() -> None:
    """Entry point of ``python -m experiments.provenance.reference``."""
    command = reading.command_line(
        "reference", "Keep a finished scale as the committed reference.", package="provenance"
    )
    keep(command.settings)


if __name__ == "__main__":
    run_main(main)
