"""Which names of a package a program uses, told from its text."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, *_COMPREHENSIONS)


class Use(NamedTuple):
    """A dotted name that a program uses, as ``hypnettorch.mnets.mlp.MLP``, and the first line where it does.

    ``is_import`` tells whether an import statement names it; otherwise it is an attribute of something imported.
    """

    line: int
    name: str
    is_import: bool


class ImportedName(NamedTuple):
    """What one entry of an import statement imports; ``bound`` is the name that it has in the program."""

    name: str
    bound: str | None


def imported_names(node: ast.Import | ast.ImportFrom) -> list[ImportedName]:
    """The entries of an import statement; none of a relative one, since it imports from the program itself.

    Example:
        >>> imported_names(ast.parse("import a.b, a.c as d").body[0])
        [ImportedName(name='a.b', bound='a'), ImportedName(name='a.c', bound='d')]
        >>> imported_names(ast.parse("from a.b import c as d, e").body[0])
        [ImportedName(name='a.b.c', bound='d'), ImportedName(name='a.b.e', bound='e')]
    """
    if isinstance(node, ast.Import):
        return [ImportedName(alias.name, alias.asname or alias.name.partition(".")[0]) for alias in node.names]
    if node.level:
        return []
    return [
        ImportedName(str(node.module), None)
        if alias.name == "*"
        else ImportedName(f"{node.module}.{alias.name}", alias.asname or alias.name)
        for alias in node.names
    ]


def find_uses(tree: ast.Module, packages: Collection[str], exported: Callable[[str], Collection[str]]) -> list[Use]:
    """The names of packages that a program imports, and the attributes that it reads of what it has imported.

    A variable that has the name of something imported hides it, as it does in Python; where both stand in the same
    scope, attributes of it are left out, unless the variable is only ``None`` (for a package that is not installed).

    Args:
        tree: The program.
        packages: The packages, by their first names.
        exported: What ``from module import *`` imports.

    Returns:
        Each name once, in the order of its first line.

    Example:
        >>> tree = ast.parse('''
        ... import hypnettorch.mnets as m
        ... from hypnettorch.hnets import HMLP as H
        ... net = m.mlp.MLP()
        ... def init(H): H.forward
        ... ''')
        >>> [use.name for use in find_uses(tree, ['hypnettorch'], lambda module: [])]
        ['hypnettorch.mnets', 'hypnettorch.hnets.HMLP', 'hypnettorch.mnets.mlp.MLP']
    """
    first: dict[str, Use] = {}
    for use in sorted(_Finder(packages, exported).find(tree, [])):
        first.setdefault(use.name, use)
    return list(first.values())


class _Finder:
    def __init__(self, packages: Collection[str], exported: Callable[[str], Collection[str]]) -> None:
        self._packages = packages
        self._exported = exported
        self._star_names: set[str] = set()

    def find(self, scope: ast.AST, outer: list[dict[str, list[str]]]) -> Iterator[Use]:
        """The uses in one scope and those within it; ``outer`` are the names that can be seen from it."""
        names = self._bindings(scope)
        visible = [*outer, names]
        for node in _nodes_of(scope):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for entry in imported_names(node):
                    if self._is_ours(entry.name):
                        yield Use(node.lineno, entry.name, True)
            elif isinstance(node, ast.Call):
                yield from self._import_by_call(node)
            elif isinstance(node, _SCOPES):
                inner = outer if isinstance(scope, ast.ClassDef) else visible
                yield from self.find(node, inner)
            elif isinstance(node, ast.Attribute | ast.Name):
                yield from self._read(node, visible)

    def _read(self, node: ast.Attribute | ast.Name, visible: list[dict[str, list[str]]]) -> Iterator[Use]:
        path: list[str] = []
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            path.insert(0, root.attr)
            root = root.value
        if not isinstance(root, ast.Name):
            return
        found = next((names[root.id] for names in reversed(visible) if root.id in names), [])
        for name in found:
            if path or name in self._star_names:
                yield Use(node.lineno, ".".join([name, *path]), False)

    def _bindings(self, scope: ast.AST) -> dict[str, list[str]]:
        """The names of a scope, each with what it is imported from; nothing for one that is bound otherwise."""
        imported: dict[str, list[str]] = {}
        others: set[str] = set()
        if isinstance(scope, Function):
            arguments = [*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs]
            others.update(a.arg for a in [*arguments, scope.args.vararg, scope.args.kwarg] if a is not None)
        for node in _nodes_of(scope):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for entry in imported_names(node):
                    self._bind(node, entry, imported, others)
                if getattr(node, "level", 0):
                    others.update(alias.asname or alias.name for alias in node.names)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                others.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                others.add(node.id)
            elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
                others.add(node.name)
            elif isinstance(node, ast.MatchMapping) and node.rest:
                others.add(node.rest)
        return {name: [] if name in others else imported[name] for name in {*imported, *others}}

    def _bind(
        self, node: ast.Import | ast.ImportFrom, entry: ImportedName, imported: dict[str, list[str]], others: set[str]
    ) -> None:
        if not self._is_ours(entry.name):
            others.update([entry.bound] if entry.bound else [])
        elif entry.bound is None:
            for name in self._exported(entry.name):
                imported.setdefault(name, []).append(f"{entry.name}.{name}")
                self._star_names.add(f"{entry.name}.{name}")
        else:
            whole = isinstance(node, ast.ImportFrom) or entry.bound != entry.name.partition(".")[0]
            imported.setdefault(entry.bound, []).append(entry.name if whole else entry.bound)

    def _import_by_call(self, node: ast.Call) -> Iterator[Use]:
        """``importlib.import_module("module")`` and the like."""
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        name = getattr(node.args[0], "value", None) if node.args else None
        if function in ("import_module", "__import__") and isinstance(name, str) and self._is_ours(name):
            yield Use(node.lineno, name, False)

    def _is_ours(self, name: str) -> bool:
        return name.partition(".")[0] in self._packages


def _nodes_of(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope, each scope within it as one; of a chain of attributes the longest only."""
    pending = _inside(scope)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, ast.Attribute):
            while isinstance(node, ast.Attribute):
                node = node.value
            pending.extend([] if isinstance(node, ast.Name) else [node])
        elif isinstance(node, _SCOPES):
            pending.extend(_around(node))
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and node.value.value is None:
            pending.extend(target for target in node.targets if not isinstance(target, ast.Name))
        else:
            pending.extend(ast.iter_child_nodes(node))


def _around(scope: ast.AST) -> list[ast.AST]:
    """What belongs to the scope around: decorators, defaults, bases, and what a comprehension iterates over."""
    if isinstance(scope, _COMPREHENSIONS):
        return [scope.generators[0].iter]
    inside = _inside(scope)
    return [part for part in ast.iter_child_nodes(scope) if part not in inside]


def _inside(scope: ast.AST) -> list[ast.AST]:
    """What belongs to the scope itself."""
    if isinstance(scope, _COMPREHENSIONS):
        first, *others = scope.generators
        results = [part for part in ast.iter_child_nodes(scope) if not isinstance(part, ast.comprehension)]
        return [*results, first.target, *first.ifs, *others]
    body: list[ast.AST] | ast.AST = getattr(scope, "body", [])
    return list(body) if isinstance(body, list) else [body]
