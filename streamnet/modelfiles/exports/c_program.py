"""A whole model as one C file: interface, tables, networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamnet.errors import ConfigurationError
from streamnet.modelfiles.exports.c_inputs import write_declaration, write_encoder
from streamnet.modelfiles.exports.c_outputs import write_label_outputs, write_number_outputs
from streamnet.modelfiles.exports.c_text import (
    MAX_LITERAL,
    Identifiers,
    comment,
    flatten,
    number,
    table,
)
from streamnet.modelfiles.exports.frozen_model import ACTIVATIONS, FrozenModel, FrozenNetwork
from streamnet.networks.kernels.forward import OUTERMOST_KNOT
from streamnet.samples import Task
from streamnet.selection.conformal import IntervalFormula


def build(model: FrozenModel) -> str:
    """Return the file.

    Raises:
        ConfigurationError: If C cannot represent something.
    """
    if any(len(label.encode()) > MAX_LITERAL for label in model.labels):
        raise ConfigurationError(
            f"the model can't be exported to C: a label has more than {MAX_LITERAL} bytes"
        )
    names = Identifiers()
    members = [names.make(column.field.name) for column in model.inputs.columns]
    is_number = model.task is Task.REGRESSION
    parts = [
        _write_header(model, members),
        _write_types(model, members),
        "#ifndef MODEL_HEADER_ONLY\n",
        _write_constants(model),
        _CLIP,
        write_encoder(model, members),
        _write_networks(model),
        write_number_outputs(model) if is_number else write_label_outputs(model),
        "#endif\n",
    ]
    return "\n".join(parts)


# ---------------------------------------------------------------------- interface

_USAGE = """\
 * To use it from other files, include it after "#define MODEL_HEADER_ONLY", and compile it on its
 * own: cc -std=c99 -O2 -c model.c; link with -lm. It allocates no memory, has no state, and may be
 * called from several threads. For several models in one program, give each a prefix of its own:
 * -DMODEL_PREFIX=name before both.
"""


def _write_header(model: FrozenModel, members: Sequence[str]) -> str:
    target = comment(str(model.about.get("target") or "a target"))
    example = ", ".join(f".{member} = ..." for member in members[:2])
    if model.task is Task.REGRESSION:
        use = "if (model_predict(&input, &output) == 0)\n *         use(output.value);"
        what = "predict returns 0, or -1 if there is no finite number"
    else:
        use = (
            "int class = model_predict(&input, &output);\n"
            " *     if (class >= 0)\n *         puts(model_labels[class]);"
        )
        what = "predict returns the number of the class, or -1 if there is no finite probability"
    return f"""\
/* A {model.task} of {target}, exported by streamnet {comment(model.version)}.
 *
 *     model_input input = {{{example}}};
 *     model_output output;
 *     {use}
 *
 * {what}.
{_USAGE} */
"""


def _write_types(model: FrozenModel, members: Sequence[str]) -> str:
    pairs = zip(model.inputs.columns, members, strict=True)
    declared = "".join(write_declaration(column, member) for column, member in pairs)
    if model.task is Task.REGRESSION:
        output = "    double value;\n"
        if isinstance(model.intervals, IntervalFormula):
            output += "    double lower, upper; /* an interval around it */\n"
        classes = ""
    else:
        output = "    double probability[MODEL(classes)]; /* in the order of the labels */\n"
        if isinstance(model.intervals, float):
            output += "    unsigned char in_set[MODEL(classes)]; /* 1 for a class in the set */\n"
        classes = (
            f"enum {{ MODEL(classes) = {len(model.labels)} }};\n\n"
            "extern const char *const MODEL(labels)[MODEL(classes)];\n\n"
        )
    return f"""\
#ifndef MODEL_PREFIX
#define MODEL_PREFIX model
#endif
#undef MODEL
#undef MODEL_JOIN
#undef MODEL_PASTE
#define MODEL_PASTE(a, b) a##_##b
#define MODEL_JOIN(a, b) MODEL_PASTE(a, b)
#define MODEL(name) MODEL_JOIN(MODEL_PREFIX, name)

{classes}typedef struct {{
{declared}}} MODEL(input);

typedef struct {{
{output}}} MODEL(output);

int MODEL(predict)(const MODEL(input) *input, MODEL(output) *output);
"""


def _write_constants(model: FrozenModel) -> str:
    real = "float" if model.dtype == np.float32 else "double"
    entries = 1 + 5 * len(model.inputs.columns)  # of a time: hour, weekday, month, ...
    widest = max(layer.shape[1] for network in model.networks for layer in network.layers)
    outputs = 1 if model.task is Task.REGRESSION else len(model.labels)
    return f"""\
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef {real} real;

#define CLIP {number(model.inputs.clip)}
#define DENSE {len(model.dense)}
#define SPLINED {len(model.splined)}
#define WIDEST {max(widest, len(model.dense))}
#define OUTPUTS {outputs}
#define NETWORKS {len(model.networks)}

typedef struct {{
    real dense[DENSE + 1];
    unsigned char known[SPLINED + 1]; /* of inputs with splines */
    int rows[{entries}], count;
}} sample;
"""


_CLIP = """\
static double clip(double x, double bound)
{
    return x < -bound ? -bound : x > bound ? bound : x;
}
"""


# ----------------------------------------------------------------------- networks


def _write_networks(model: FrozenModel) -> str:
    tables, entries = [], []
    for k, network in enumerate(model.networks):
        tables.append(table("real", f"weights_{k}", flatten(network.layers)))
        tables.append(table("real", f"splines_{k}", network.splines))
        tables.append(table("real", f"sparse_{k}", network.sparse))
        tables.append(table("int", f"units_{k}", [layer.shape[1] for layer in network.layers]))
        codes = [ACTIVATIONS.index(name) for name in network.activations]
        tables.append(table("int", f"activations_{k}", codes))
        entries.append(_write_network(k, network))
    spread = OUTERMOST_KNOT
    float_type = model.dtype == np.float32
    suffix = "f" if float_type else ""
    splined = table("int", "splined", [model.dense.index(number) for number in model.splined])
    return (
        "\n".join(tables)
        + f"""
{splined}
typedef struct {{
    const real *weights; /* of each layer: biases, then a row for each input */
    const real *splines; /* a row for each knot of each input that has some */
    const real *sparse;
    const int *units, *activations; /* of each layer */
    int layers, knots;
    double limit; /* of scores; beyond it, there is no output */
    int is_logarithmic;
}} network;

static const network networks[NETWORKS] = {{
{"".join(entries)}}};

static real activate_unit(int activation, real x)
{{
    switch (activation) {{
    case 1:
        return 1 / (1 + exp{suffix}(-x));
    case 2:
        return tanh{suffix}(x);
    case 3:
        return x > 0 ? x : 0;
    default:
        return x;
    }}
}}

static void add_row(real x, const real *row, int units, real *sums)
{{
    int j;
    for (j = 0; j < units; j++)
        sums[j] += x * row[j];
}}

static void add_splines(const network *n, const sample *s, real *sums)
{{
    int i, units = n->units[0], last = n->knots - 2;
    for (i = 0; i < SPLINED; i++) {{
        real place = (real)clip(s->dense[splined[i]], {number(spread)});
        const real *row = n->splines + (size_t)i * (size_t)(n->knots * units);
        int below;
        place = (place * (real){number(0.5 / spread)} + (real)0.5) * (real)(n->knots - 1);
        below = (int)place < last ? (int)place : last;
        if (!s->known[i])
            continue;
        add_row(1 - (place - (real)below), row + below * units, units, sums);
        add_row(place - (real)below, row + (below + 1) * units, units, sums);
    }}
}}

/* Writes the scores of a network and then its outputs; returns 0 if one is not finite. */
static int run(const network *n, const sample *s, real *outputs)
{{
    real values[2][WIDEST + 1];
    const real *weights = n->weights;
    int inputs = DENSE, sound = 1, activation = 0, l, i;
    memcpy(values[0], s->dense, DENSE * sizeof(real));
    for (l = 0; l < n->layers; l++) {{
        const real *below = values[l % 2];
        real *sums = values[1 - l % 2];
        int units = n->units[l];
        memcpy(sums, weights, (size_t)units * sizeof(real));
        for (i = 0; i < inputs; i++)
            add_row(below[i], weights += units, units, sums);
        weights += units;
        if (l == 0) {{
            if (n->knots > 0)
                add_splines(n, s, sums);
            for (i = 0; i < s->count; i++)
                add_row(1, n->sparse + (size_t)s->rows[i] * (size_t)units, units, sums);
        }}
        activation = n->activations[l];
        if (l < n->layers - 1)
            for (i = 0; i < units; i++)
                sums[i] = activate_unit(activation, sums[i]);
        inputs = units;
    }}
    for (i = 0; i < OUTPUTS; i++) {{
        outputs[i] = values[n->layers % 2][i];
        if (!((double)fabs((double)outputs[i]) < n->limit))
            sound = 0;
        outputs[i] = activate_unit(activation, outputs[i]);
    }}
    return sound;
}}
"""
    )


def _write_network(k: int, network: FrozenNetwork) -> str:
    arrays = ", ".join(f"{name}_{k}" for name in ("weights", "splines", "sparse", "units"))
    numbers = f"{len(network.layers)}, {network.knots}, {number(network.score_limit)}"
    return f"    {{{arrays}, activations_{k}, {numbers}, {int(network.is_logarithmic)}}},\n"
