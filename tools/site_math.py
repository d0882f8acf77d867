r"""Formulas of the site: a small part of TeX's notation to MathML, which browsers draw unaided.

Known: letters, numbers and operators; `^`, `_` and braces; `\frac`, `\sqrt`, `\text`, `\mathrm`;
accents (`\bar`, `\hat`, `\tilde`); Greek letters; the symbols and functions of the tables below;
`\left` and `\right`; `\begin{aligned}` and `\begin{cases}`. Anything else is an error.
"""

import html
import re

_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|\d+(?:\.\d+)?|\s+|.", re.S)
_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π",
    "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
    "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ",
    "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
_OPERATORS = {
    "cdot": "⋅", "times": "×", "le": "≤", "ge": "≥", "ne": "≠", "approx": "≈", "sim": "∼",
    "in": "∈", "notin": "∉", "to": "→", "leftarrow": "←",
    "pm": "±", "propto": "∝", "ldots": "…", "mid": "|", "ll": "≪",
    "lceil": "⌈", "rceil": "⌉", "lfloor": "⌊", "rfloor": "⌋", "{": "{", "}": "}", "lVert": "‖",
    "rVert": "‖",
    "equiv": "≡", "bmod": "mod", "cap": "∩", "cup": "∪", "ast": "∗", "oplus": "⊕",
}  # fmt: skip
_IDENTIFIERS = {
    "infty": "∞",
    "ell": "ℓ",
    "top": "⊤",
    "%": "%",
    "&": "&",
    "$": "$",
    "#": "#",
    "_": "_",
}
_FUNCTIONS = {"log", "ln", "arg", "cos", "exp", "min", "max", "sin"}
_LARGE = {"sum": "∑", "prod": "∏", "int": "∫"}
_SPACES = {",": 0.17, ";": 0.28, " ": 0.25, "quad": 1.0, "qquad": 2.0}
_ACCENTS = {"bar": "¯", "hat": "^", "tilde": "~"}
_FENCES = "()[]|‖⌈⌉⌊⌋"


class MathError(ValueError):
    """A formula that is not understood."""


def mathml(tex: str, *, display: bool = False) -> str:
    """The `<math>` element of a formula.

    Args:
        tex: the formula, without its dollar signs.
        display: drawn on a line of its own, with limits above and below sums.

    Raises:
        MathError: a command that is not known, a brace that is not closed.
    """
    parser = _Parser(tex, display)
    body = parser.row(until="")
    mode = ' display="block"' if display else ""
    return f"<math{mode}><mrow>{body}</mrow></math>"


class _Parser:
    """One pass over the tokens of a formula."""

    def __init__(self, tex: str, display: bool) -> None:
        self.tex = tex
        self.display = display
        self.tokens = [token for token in _TOKEN.findall(tex) if not token.isspace()]
        self.raw = [(found[0], found.end()) for found in _TOKEN.finditer(tex)]
        self.ends = [end for token, end in self.raw if not token.isspace()]
        self.at = 0

    def error(self, what: str) -> MathError:
        return MathError(f"{what} in the formula {self.tex.strip()!r}")

    def next(self) -> str:
        if self.at == len(self.tokens):
            raise self.error("something is missing at the end")
        self.at += 1
        return self.tokens[self.at - 1]

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def row(self, until: str) -> str:
        """Everything up to the token `until`, which is taken too; "" is the end."""
        parts = []
        while self.peek() != until:
            if not self.peek():
                raise self.error(f"no {until} ")
            parts.append(self.scripted())
        if until:
            self.next()
        return "".join(parts)

    def scripted(self) -> str:
        """One atom with what stands below and above it."""
        large = self.peek()[1:] in {"sum", "prod", "min", "max"} and self.peek()[0] == "\\"
        base, below, above = self.atom(), "", ""
        while self.peek() in ("_", "^"):
            if self.next() == "_":
                below = self.group()
            else:
                above = self.group()
        if not below and not above:
            return base
        tags = ("munder", "mover", "munderover") if large and self.display else _SCRIPTS
        tag = tags[2] if below and above else tags[0] if below else tags[1]
        return f"<{tag}>{base}{below}{above}</{tag}>"

    def group(self) -> str:
        """A braced group, or one atom."""
        if self.peek() == "{":
            self.next()
            return f"<mrow>{self.row('}')}</mrow>"
        return self.atom()

    def atom(self) -> str:
        token = self.next()
        if token == "{":
            return f"<mrow>{self.row('}')}</mrow>"
        if token[0] == "\\" and len(token) > 1:
            return self.command(token[1:])
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        if token.isalpha():
            return f"<mi>{token}</mi>"
        if token in "}&^_\\":
            raise self.error(f"a stray {token}")
        return _operator({"-": "−", "*": "∗", "'": "′"}.get(token, token))

    def command(self, name: str) -> str:
        if name in _GREEK:
            return f"<mi>{_GREEK[name]}</mi>"
        if name in _OPERATORS:
            return _operator(_OPERATORS[name])
        if name in _IDENTIFIERS:
            return f"<mi>{html.escape(_IDENTIFIERS[name])}</mi>"
        if name in _FUNCTIONS:
            before = _THIN if self.after_a_factor() else ""
            return f"{before}<mi>{name}</mi>{_THIN if self.apart() else ''}"
        if name in _LARGE:
            return f'<mo movablelimits="false">{_LARGE[name]}</mo>'
        if name in _SPACES:
            return f'<mspace width="{_SPACES[name]}em"></mspace>'
        if name in _ACCENTS:
            return f"<mover>{self.group()}<mo>{_ACCENTS[name]}</mo></mover>"
        if name == "frac":
            return f"<mfrac>{self.group()}{self.group()}</mfrac>"
        if name == "sqrt":
            return f"<msqrt>{self.group()}</msqrt>"
        if name in ("text", "mathrm"):
            return self.text("mtext" if name == "text" else "mi")
        if name == "left":
            return self.fenced()
        if name == "begin":
            return self.environment()
        raise self.error(f"\\{name} is not known")

    def after_a_factor(self) -> bool:
        """Whether a function name would run into what stands before it."""
        before = self.tokens[self.at - 2] if self.at > 1 else ""
        return before.isalnum() or before in (")", "]", "}") or before[1:] in _GREEK

    def apart(self) -> bool:
        """Whether a function's argument needs a space before it."""
        return (
            bool(self.peek()) and self.peek() not in tuple("(_^){}[],") and self.peek() != "\\left"
        )

    def text(self, tag: str) -> str:
        """Words, spaces kept: read from the formula itself, not from its tokens."""
        if self.next() != "{":
            raise self.error("words are not in braces")
        start = self.ends[self.at - 1]
        end = self.tex.find("}", start)
        if end < 0:
            raise self.error("no } ")
        while self.next() != "}":
            pass
        words = html.escape(self.tex[start:end])
        kind = ' mathvariant="normal"' if tag == "mi" else ""
        return f"<{tag}{kind}>{words.replace(' ', '&#160;')}</{tag}>"

    def fence(self) -> str:
        token = self.next()
        mark = _OPERATORS.get(token[1:], "") if token[0] == "\\" else token
        return "" if mark == "." else mark

    def fenced(self) -> str:
        opening = self.fence()
        body = self.row("\\right")
        closing = self.fence()
        return f"<mrow>{_fence(opening)}{body}{_fence(closing)}</mrow>"

    def environment(self) -> str:
        """`aligned` and `cases`: rows of cells."""
        kind = self.words()
        if kind not in ("aligned", "cases"):
            raise self.error(f"\\begin{{{kind}}} is not known")
        rows: list[list[str]] = [[""]]
        while self.peek() != "\\end":
            if not self.peek():
                raise self.error(f"no \\end{{{kind}}}")
            if self.peek() == "&":
                self.next()
                rows[-1].append("")
            elif self.peek() == "\\\\":
                self.next()
                rows.append([""])
            else:
                rows[-1][-1] += self.scripted()
        self.next()
        if self.words() != kind:
            raise self.error(f"\\begin{{{kind}}} ends otherwise")
        lines = "".join(
            f"<mtr>{''.join(f'<mtd>{cell}</mtd>' for cell in row)}</mtr>" for row in rows
        )
        table = f'<mtable class="{kind}" displaystyle="true">{lines}</mtable>'
        return f"<mrow>{_fence('{')}{table}</mrow>" if kind == "cases" else table

    def words(self) -> str:
        """The name in braces after \\begin or \\end."""
        if self.next() != "{":
            raise self.error("no name in braces")
        name = ""
        while self.peek() != "}":
            name += self.next()
        self.next()
        return name


_THIN = '<mspace width="0.17em"></mspace>'
_SCRIPTS = ("msub", "msup", "msubsup")


def _operator(mark: str) -> str:
    stretchy = ' stretchy="false"' if mark in _FENCES else ""
    return f"<mo{stretchy}>{html.escape(mark)}</mo>"


def _fence(mark: str) -> str:
    return f'<mo stretchy="true">{html.escape(mark)}</mo>' if mark else ""
