"""Holds the tree against the map in docs/design.md: tiers, one door to Keras, the test split."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Lowest first. A room imports rooms of lower tiers, and itself, never its siblings. A name is a
# module or a folder of tfcompress, or `experiments`.
TIERS = {
    "foundation": (
        "answers",
        "artifact",
        "benchmark_record",
        "budgets",
        "byte_counts",
        "call_sizes",
        "compact",
        "durable",
        "environment",
        "exported_file",
        "file_building",
        "file_cost",
        "file_graph",
        "file_locks",
        "flatbuffer",
        "goals",
        "gpu_proof",
        "image_files",
        "judging",
        "latency",
        "layer_coverage",
        "layer_sensitivity",
        "level_search",
        "litert",
        "litert_profiling",
        "machine_state",
        "memory_plan",
        "metadata",
        "minimal",
        "minimal_steps",
        "native_output",
        "operator_profile",
        "output_difference",
        "own_process",
        "packaged_files",
        "parity_limits",
        "predictions",
        "preprocessing",
        "progress",
        "random_inputs",
        "recipe",
        "records",
        "registry",
        "resource_use",
        "results",
        "robustness",
        "roofline",
        "search_record",
        "settings",
        "sparse_encoding",
        "speed",
        "statistics",
        "tokenization",
        "tokenizer",
        "torch_files",
        "transfer",
        "transfer_comparisons",
        "transfer_tables",
        "vocabulary",
        "vulkan",
        "workers",
        "fraction_text",
    ),
    "keras": ("_keras",),
    "graph": ("graph",),
    "encoders": ("encoders",),
    "parts": (
        "backbones",
        "callbacks",
        "checkpoint",
        "data",
        "export",
        "objectives",
        "optimizers",
        "placement",
        "runtimes",
        "techniques",
    ),
    "plans": ("planned_stages",),
    "steps": ("benchmark", "compose", "evaluate", "level_callback", "training"),
    "workflow": (
        "config",
        "finished_run",
        "head_training",
        "judged_files",
        "level_raising",
        "probe",
        "run_folder",
        "shared_folder",
        "search",
        "stage_state",
        "kept_files",
        "kept_training",
        "starts",
        "timed_files",
        "stages",
        "supplies",
        "survey",
        "workflow",
    ),
    "studies": ("studies",),
    "experiments": ("experiments",),
}
# Tiers whose rooms may import one another.
OPEN_TIERS = ("foundation", "workflow")
# Beside the tiers: rendered from results, on a machine with no TensorFlow.
REPORT_SEES = (
    "benchmark_record",
    "budgets",
    "durable",
    "judging",
    "latency",
    "layer_coverage",
    "layer_sensitivity",
    "level_search",
    "operator_profile",
    "predictions",
    "records",
    "results",
    "robustness",
    "roofline",
    "search_record",
    "speed",
    "statistics",
    "transfer",
    "transfer_comparisons",
    "fraction_text",
)

HEAVY = ("tensorflow", "tf_keras", "tensorflow_model_optimization", "keras")
KERAS_NAMES = ("keras", "keras3", "tf", "tfmot")


@dataclass(frozen=True)
class Module:
    """A module of the package or of the programs."""

    path: Path

    @property
    def dotted(self) -> str:
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def room(self) -> str:
        return room_of(self.dotted)

    @property
    def tree(self) -> ast.Module:
        return parsed(self.path)

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


def room_of(dotted: str) -> str:
    first, *rest = dotted.split(".")
    return "experiments" if first == "experiments" else (rest[0] if rest else "")


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def modules() -> list[Module]:
    found = [*ROOT.glob("tfcompress/**/*.py"), *ROOT.glob("experiments/**/*.py")]
    return sorted((Module(path) for path in found), key=str)


every_module = pytest.mark.parametrize("module", modules(), ids=str)


def imports(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    """Each import anywhere in a module, those inside functions included, by its dotted name."""
    package = (
        module.dotted if module.path.name == "__init__.py" else module.dotted.rpartition(".")[0]
    )
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base]) if base else ".".join(above)
            for alias in node.names:
                yield node, f"{base}.{alias.name}"


def tier_of(room: str) -> str:
    found = [tier for tier, rooms in TIERS.items() if room in rooms]
    assert found, f"{room} stands in no tier: add it here, to docs/design.md and to BUILD"
    return found[0]


def may_import(importer: str, imported: str) -> bool:
    """Whether a room may import another."""
    if importer in (imported, ""):
        return True
    if importer == "report":
        return imported in REPORT_SEES
    if imported == "report":
        return tier_of(importer) in ("workflow", "experiments")
    order = list(TIERS)
    ours, theirs = tier_of(importer), tier_of(imported)
    if ours == theirs:
        return ours in OPEN_TIERS
    return order.index(theirs) < order.index(ours)


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("techniques", "graph", True),
        ("techniques", "backbones", False),
        ("graph", "techniques", False),
        ("results", "durable", True),
        ("results", "_keras", False),
        ("training", "evaluate", False),
        ("workflow", "report", True),
        ("report", "results", True),
        ("report", "artifact", False),
        ("evaluate", "report", False),
        ("experiments", "workflow", True),
        ("workflow", "experiments", False),
    ],
)
def test_the_rule_itself(importer: str, imported: str, allowed: bool) -> None:
    assert may_import(importer, imported) == allowed


@every_module
def test_imports_point_only_down_the_tiers(module: Module) -> None:
    for node, name in imports(module):
        if name.split(".")[0] not in ("tfcompress", "experiments"):
            continue
        room = room_of(name)
        # The package itself, for its version, or an attribute of it such as `__version__`.
        if room == "" or room.startswith("__"):
            continue
        assert may_import(module.room, room), f"{module}:{node.lineno} imports {name}"


def typing_only(tree: ast.Module) -> set[ast.stmt]:
    """The statements under `if TYPE_CHECKING`."""
    return {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for child in ast.walk(statement)
        if isinstance(child, ast.stmt)
    }


@every_module
def test_tensorflow_comes_through_one_door(module: Module) -> None:
    if module.dotted == "tfcompress._keras":
        return
    ignored = typing_only(module.tree)
    for node, name in imports(module):
        if node not in ignored:
            assert name.split(".")[0] not in HEAVY, f"{module}:{node.lineno} imports {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            named = node.args[0]
            if isinstance(named, ast.Constant):
                assert str(named.value).split(".")[0] not in HEAVY, f"{module}:{node.lineno}"


def is_keras_expression(node: ast.expr, aliases: set[str]) -> bool:
    root = node
    while isinstance(root, ast.Attribute | ast.Call | ast.Subscript):
        root = root.func if isinstance(root, ast.Call) else root.value
    return isinstance(root, ast.Name) and root.id in aliases


def defines_keras_classes(module: Module) -> bool:
    """Whether a module has, at its top level, a subclass of something of TensorFlow's."""
    aliases = set(KERAS_NAMES)
    for node in module.tree.body:
        # Such as `_default = tfmot.quantization.keras.default_8bit`.
        if isinstance(node, ast.Assign) and is_keras_expression(node.value, aliases):
            aliases |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.ClassDef) and any(
            is_keras_expression(base, aliases) for base in node.bases
        ):
            return True
    return False


def imports_tensorflow(module: Module) -> bool:
    """Whether importing a module imports TensorFlow, by design.

    It defines Keras classes, or its name begins with `_` and it imports such a module at its top,
    or one that does so in turn.
    """
    return module.dotted in importing_tensorflow()


@cache
def importing_tensorflow() -> frozenset[str]:
    late = {module.dotted for module in modules() if defines_keras_classes(module)}
    private = [m for m in modules() if m.path.name.startswith("_") and m.path.stem != "__init__"]
    while True:
        more = {
            module.dotted
            for module in private
            for node, name in imports(module)
            if node in module.tree.body and {name, name.rpartition(".")[0]} & late
        }
        if more <= late:
            return frozenset(late)
        late |= more


@every_module
def test_keras_classes_stand_in_modules_that_are_imported_late(module: Module) -> None:
    if defines_keras_classes(module):
        private = module.path.name.startswith("_")
        assert private or module.room in ("graph", "callbacks"), (
            f"{module} defines a Keras class at its top level: importing it imports TensorFlow"
        )


def test_importing_the_package_imports_no_tensorflow() -> None:
    names = [
        module.dotted
        for module in modules()
        if not imports_tensorflow(module) and module.path.name != "__main__.py"
    ]
    assert len(names) > 40
    program = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = [heavy for heavy in {HEAVY} if heavy in sys.modules]\n"
        "    assert not loaded, f'importing {name} imports {loaded}'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr


@every_module
def test_the_test_split_is_named_only_where_it_is_made_and_where_it_is_read(
    module: Module,
) -> None:
    # `experiments/make_samples.py` draws the samples that the package ships: it makes a split.
    if module.room in ("data", "evaluate") or str(module) == "experiments/make_samples.py":
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr == "test":
            pytest.fail(f"{module}:{node.lineno} reads .test")


@pytest.mark.parametrize("module", [m for m in modules() if m.room != "training"], ids=str)
def test_fit_is_called_by_training_alone(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = ast.unparse(node.func)
            assert node.func.attr != "fit" or called == "training.fit", f"{module}:{node.lineno}"


def test_the_design_names_every_room() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    layout = text.split("## 2. Layout")[1].split("## 3.")[0]
    for module in modules():
        room = module.room
        if room and room != "experiments":
            written = f"{room}/" if (ROOT / "tfcompress" / room).is_dir() else f"{room}.py"
            assert written in layout, f"docs/design.md, section 2, does not name {written}"
    for tier, rooms in TIERS.items():
        for room in rooms:
            exists = (ROOT / "tfcompress" / room).exists() or (ROOT / room).is_dir()
            assert exists or (ROOT / "tfcompress" / f"{room}.py").exists(), f"{tier}: no {room}"


# BUILD: Starlark is Python's syntax, so the file is run with functions that record their arguments.


@dataclass(frozen=True)
class Target:
    """A rule of BUILD with its arguments."""

    rule: str
    arguments: dict

    @property
    def sources(self) -> list[str]:
        return self.arguments.get("srcs", [])


def matching(patterns: list[str], exclude: Sequence[str] = ()) -> list[str]:
    """Bazel's glob, in which a pattern that ends in `**` matches files."""

    def paths(patterns: Sequence[str]) -> set[Path]:
        spelled = [f"{p}/*" if p.endswith("**") else p for p in patterns]
        return {path for pattern in spelled for path in ROOT.glob(pattern)}

    found = paths(patterns) - paths(exclude)
    return sorted(path.relative_to(ROOT).as_posix() for path in found if path.is_file())


@pytest.fixture(scope="module")
def build() -> dict[str, Target]:
    targets: dict[str, Target] = {}

    def recorder(rule: str):
        def record(**arguments) -> None:
            assert arguments["name"] not in targets, f"BUILD has {arguments['name']} twice"
            targets[arguments["name"]] = Target(rule, arguments)

        return record

    rules = ("py_library", "py_binary", "py_test", "filegroup")
    names = {rule: recorder(rule) for rule in rules}
    names |= {"glob": matching, "package": lambda **arguments: None}
    source = (ROOT / "BUILD").read_text(encoding="utf-8")
    exec(compile(source, "BUILD", "exec"), names)
    return targets


def test_build_has_a_library_for_each_tier(build: dict[str, Target]) -> None:
    for tier in (*TIERS, "report"):
        rooms = ("report",) if tier == "report" else TIERS[tier]
        expected = {str(m) for m in modules() if m.room in rooms}
        if tier == "foundation":
            expected.add("tfcompress/__init__.py")
        assert set(build[tier].sources) == expected, tier


def test_build_lets_a_tier_see_only_what_it_may_import(build: dict[str, Target]) -> None:
    for tier in (*TIERS, "report"):
        importer = "report" if tier == "report" else TIERS[tier][0]
        for dependency in build[tier].arguments.get("deps", []):
            seen = dependency.removeprefix(":")
            rooms = ("report",) if seen == "report" else TIERS[seen]
            assert any(may_import(importer, room) for room in rooms), f"{tier} sees {seen}"


def test_build_carries_every_file_that_the_package_reads(build: dict[str, Target]) -> None:
    carried = {path for target in build.values() for path in target.arguments.get("data", [])}
    beside = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("tfcompress/**/*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert beside <= carried, f"BUILD lacks {sorted(beside - carried)}"


def test_build_has_a_binary_for_each_program(build: dict[str, Target]) -> None:
    programs = {
        str(module)
        for module in modules()
        if module.room == "experiments" and "__main__" in ast.unparse(module.tree)
    }
    built = {t.arguments["main"] for t in build.values() if t.rule == "py_binary"}
    assert built == programs


def test_build_has_a_test_for_each_test_file(build: dict[str, Target]) -> None:
    tested = [t.arguments["args"] for t in build.values() if t.rule == "py_test"]
    files = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/test_*.py"))
    assert sorted(tested) == [[path] for path in files]
