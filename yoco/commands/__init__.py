"""The commands: for each a form of options (tyro reads it) and what is done with them."""

COMMANDS = {
    "condense": "yoco.commands.condense:condense",
    "experts": "yoco.commands.experts:experts",
    "prune": "yoco.commands.prune:prune",
    "score": "yoco.commands.prune:score",
    "evaluate": "yoco.commands.evaluate:evaluate",
    "sparsify": "yoco.commands.sparsify:sparsify",
    "report": "yoco.commands.files:report",
    "convert": "yoco.commands.files:convert",
}
"""name -> function(words)."""
