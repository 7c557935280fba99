"""Methods by name: each makes masks of a network, and leaves the network as it was.

Called as method(network, sparsity=..., rng=..., data=..., normalise=...): data is a Batch of images in [0, 1] and their
labels, normalise what happens to images before the network sees them. Keyword options of their own may follow.
"""

METHODS: dict[str, str] = {
    "random": "yoco.sparsify.methods.random:random",
    "uniform": "yoco.sparsify.methods.random:uniform",
    "uniform_plus": "yoco.sparsify.methods.random:uniform_plus",
    "erk": "yoco.sparsify.methods.random:erk",
    "magnitude": "yoco.sparsify.methods.magnitude:magnitude",
    "snip": "yoco.sparsify.methods.snip:snip",
    "iterative_snip": "yoco.sparsify.methods.snip:iterative",
    "grasp": "yoco.sparsify.methods.grasp:grasp",
    "synflow": "yoco.sparsify.methods.synflow:synflow",
    "phew": "yoco.sparsify.methods.phew:phew",
    "npb": "yoco.sparsify.methods.npb:npb",
    "dpai": "yoco.sparsify.methods.dpai:dpai",
}
"""name -> function."""
LOOKING = ("snip", "iterative_snip", "grasp")
"""Those that look at images; the others need the network alone, or the shape of an image as well."""
