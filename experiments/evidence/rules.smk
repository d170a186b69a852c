# From the rooms' runs to the evidence: rows -> tables, figures and claims -> paper and report. A cluster takes these short
# jobs as one.

FINDINGS = [f"experiments.{room}.findings" for room in SETTINGS.rooms]
LEDGER, CURVES = "paper/claims.yaml", {"experiments/evidence/specification_curve.py"}
# Committed files of other scales that the manuscript quotes.
QUOTED = sorted(
    {
        *(str(path) for path in Path("results/reference").glob("*/claims.csv") if path.parent.name != SETTINGS.scale),
        *results_named_in(Path("paper/paper.typ")),
    }
)


rule rows:
    input:
        lambda wildcards: RUNS[wildcards.room],
        lambda wildcards: modules("experiments.evidence.rows", f"experiments.{wildcards.room}.findings"),
    output:
        f"{RESULTS}/rows/{{room}}.csv",
    log:
        f"{LOGS}/rows-{{room}}.log",
    group:
        "analysis"
    params:
        config=lambda wildcards, output: CONFIG,
    shell:
        "python -m experiments.evidence.rows {wildcards.room:q} --config={params.config:q} > {log:q} 2>&1"


for room, tables in TABLES_OF.items():

    rule:
        name:
            f"tables_{room}"
        input:
            f"{RESULTS}/rows/{room}.csv",
            modules("experiments.evidence.tables", f"experiments.{room}.findings"),
            "paper/published.yaml",
        output:
            [
                report(
                    f"{RESULTS}/tables/{table}.csv",
                    caption=f"../{room}/captions/tables/{table}.rst",
                    category="Tables",
                    labels={"experiment": room, "table": table},
                )
                for table in tables
            ],
            expand(f"{RESULTS}/tables/{{table}}.{{form}}", table=tables, form=["md", "tex"]),
        log:
            f"{LOGS}/tables-{room}.log",
        group:
            "analysis"
        params:
            config=lambda wildcards, output: CONFIG,
            room=room,
        shell:
            "python -m experiments.evidence.tables {params.room:q} --config={params.config:q} > {log:q} 2>&1"


for room, figures in FIGURES_OF.items():

    rule:
        name:
            f"figures_{room}"
        input:
            f"{RESULTS}/rows/{room}.csv",
            RUNS[room],
            modules("experiments.evidence.figures", f"experiments.{room}.figures"),
            "paper/published.yaml",
            # specification curves draw the ledger
            (
                [LEDGER, f"{RESULTS}/claims.csv", f"{RESULTS}/specifications.csv"]
                if CURVES <= {*modules(f"experiments.{room}.figures")}
                else []
            ),
        output:
            [
                report(
                    f"{FIGURES}/{figure}.png",
                    caption=f"../{room}/captions/figures/{figure}.rst",
                    category="Figures",
                    labels={"experiment": room, "figure": figure},
                )
                for figure in figures
            ],
            expand(f"{FIGURES}/{{figure}}.pdf", figure=figures),
        log:
            f"{LOGS}/figures-{room}.log",
        group:
            "analysis"
        params:
            config=lambda wildcards, output: CONFIG,
            room=room,
            label=SETTINGS.label,
        shell:
            "python -m experiments.evidence.figures {params.room:q} --config={params.config:q} > {log:q} 2>&1"


rule claims:
    input:
        expand(rules.rows.output, room=SETTINGS.rooms),
        modules("experiments.evidence.claims", *FINDINGS),
        "paper/claims.yaml",
        "paper/published.yaml",
    output:
        report(f"{RESULTS}/claims.csv", caption="../../paper/captions/claims.rst", category="Claims"),
        multiext(f"{RESULTS}/claims", ".md", ".tex"),
        multiext(f"{RESULTS}/specifications", ".csv", ".md", ".tex"),
    log:
        f"{LOGS}/claims.log",
    group:
        "analysis"
    params:
        config=lambda wildcards, output: CONFIG,
    shell:
        "python -m experiments.evidence.claims --config={params.config:q} > {log:q} 2>&1"


rule paper:
    input:
        rules.claims.output,
        TABLES,
        DRAWN,
        modules("experiments.evidence.manuscript", *FINDINGS),
        "paper/paper.typ",
        "paper/references.bib",
        "paper/published.yaml",
        "paper/claims.yaml",
        QUOTED,
    output:
        report(f"{RESULTS}/paper.pdf", caption="../../paper/captions/paper.rst", category="Paper"),
        f"{RESULTS}/numbers.json",
    log:
        f"{LOGS}/paper.log",
    group:
        "analysis"
    params:
        config=lambda wildcards, output: CONFIG,
    shell:
        "python -m experiments.evidence.manuscript --config={params.config:q} > {log:q} 2>&1"


rule report:
    input:
        rules.paper.output,
        sorted(map(str, [*Path("experiments").glob("*/captions/*/*.rst"), *Path("paper/captions").glob("*.rst")])),
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    group:
        "analysis"
    params:
        config=lambda wildcards, output: CONFIG,
    shell:
        "snakemake --configfile={params.config:q} --report={output:q} --cores=1 --nolock -- paper > {log:q} 2>&1"
