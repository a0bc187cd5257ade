"""A whole model as one C file: interface, tables, networks, ensemble."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamnet.errors import ConfigurationError
from streamnet.features.columns.target import MAX_DEVIATIONS
from streamnet.modelfiles.exports.c_inputs import write_declaration, write_encoder
from streamnet.modelfiles.exports.c_text import (
    MAX_LITERAL,
    Identifiers,
    comment,
    flatten,
    number,
    strings,
    table,
)
from streamnet.modelfiles.exports.frozen_model import FrozenModel, FrozenNetwork
from streamnet.networks.kernels.forward import OUTERMOST_KNOT
from streamnet.samples import Task
from streamnet.selection.conformal import MAX_FEATURE, MAX_LOG_FACTOR, MAX_NUMBER, IntervalFormula
from streamnet.selection.ensemble.base import PRIORS
from streamnet.selection.ensemble.frozen import FrozenEnsemble

_ACTIVATIONS = {"identity": 0, "logistic": 1, "tanh": 2, "relu": 3, "softmax": 4}


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
        _write_number_outputs(model) if is_number else _write_label_outputs(model),
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
        codes = [_ACTIVATIONS[name] for name in network.activations]
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


# ----------------------------------------------------------------------- ensemble


def _write_losses(ensemble: FrozenEnsemble) -> str:
    """The function ``weigh`` for weights that fall with losses."""
    known = np.isfinite(ensemble.mean_losses)
    means = np.where(known, ensemble.mean_losses, 0.0)
    tables = [
        table("unsigned char", "counts", known.astype(int).tolist()),
        table("double", "mean_losses", means),
        table("double", "loss_counts", ensemble.loss_counts),
    ]
    return f"""\
#define EXPERTS (NETWORKS + {PRIORS})

{"".join(tables)}
static double find_lowest(const unsigned char *alive)
{{
    double lowest = DBL_MAX;
    int k;
    for (k = 0; k < EXPERTS; k++)
        if (counts[k] && alive[k] && mean_losses[k] < lowest)
            lowest = mean_losses[k];
    return lowest;
}}

static void divide_by_sum(double *weights)
{{
    double total = 0.0;
    int k;
    for (k = 0; k < EXPERTS; k++)
        total += weights[k];
    for (k = 0; k < EXPERTS; k++)
        weights[k] = total > 0.0 ? weights[k] / total : 0.0;
}}

/* Weights that fall exponentially with losses. */
static void weigh(const unsigned char *alive, double rate, double *weights)
{{
    double lowest = find_lowest(alive);
    int k;
    for (k = 0; k < EXPERTS; k++) {{
        double above = loss_counts[k] * (mean_losses[k] - lowest);
        weights[k] = counts[k] && alive[k] ? exp(-rate * above) : 0.0;
    }}
    divide_by_sum(weights);
}}
"""


def _write_label_outputs(model: FrozenModel) -> str:
    labels = strings("LABELS", model.labels).replace("static ", "", 1)
    labels = labels.replace(f"LABELS[{len(model.labels)}]", "MODEL(labels)[MODEL(classes)]")
    parts, redirect = [labels, _PROBABILITIES], "(void)0"
    if model.redirects is not None:
        parts.append(_write_redirects(model))
        redirect = "redirect(shares)"
    if model.ensemble is not None:
        ensemble = model.ensemble
        parts += [
            _write_losses(ensemble),
            table("double", "mixers", ensemble.weights),
            table("double", "priors", ensemble.priors),
            table("double", "final", ensemble.final),
            table("double", "shares_of_outputs", ensemble.shares),
            _MIX_LABELS % {
                "mixers": len(ensemble.weights),
                "rate": number(ensemble.rate),
                "floor": number(ensemble.floor),
                "redirect": redirect,
            },
        ]  # fmt: skip
    else:
        parts.append(_ONE_NETWORK % {"redirect": redirect})
    odds = "output->probability[c]"
    if model.ensemble is not None and model.ensemble.frequencies is not None:
        parts.append(table("double", "frequencies", model.ensemble.frequencies))
        odds += " / frequencies[c]"
    sets = ""
    if isinstance(model.intervals, float):
        bound = f"output->probability[c] >= {number(model.intervals)}"
        if model.redirects is not None:
            parts.append(
                table("unsigned char", "active", model.redirects.is_active.astype(int).tolist())
            )
            bound += " && active[c]"
        sets = f"        output->in_set[c] = {bound};\n"
    parts.append(_PREDICT_LABEL % {"odds": odds, "sets": sets})
    return "\n".join(parts)


_PROBABILITIES = """\
/* Turns the outputs of a network into probabilities. */
static void normalize(const network *n, const real *outputs, double *shares)
{
    int c, is_softmax = n->activations[n->layers - 1] == 4;
    double peak = -DBL_MAX, total = 0.0;
    for (c = 0; c < OUTPUTS; c++)
        peak = outputs[c] > peak ? outputs[c] : peak;
    for (c = 0; c < OUTPUTS; c++) {
        shares[c] = is_softmax ? exp(outputs[c] - peak) : outputs[c] > 0 ? outputs[c] : 0.0;
        total += shares[c];
    }
    for (c = 0; c < OUTPUTS; c++)
        shares[c] = total > 1e-30 ? shares[c] / total : 1.0 / OUTPUTS;
}
"""

_ONE_NETWORK = """\
static int mix(const sample *s, double *shares)
{
    real outputs[OUTPUTS];
    if (!run(&networks[0], s, outputs))
        return 0;
    normalize(&networks[0], outputs, shares);
    %(redirect)s;
    return 1;
}
"""

_MIX_LABELS = """\
/* Replaces scores by logarithms of probabilities, and writes these. */
static void log_softmax(double *scores, double *shares)
{
    double peak = -DBL_MAX, total = 0.0, scale;
    int c;
    for (c = 0; c < OUTPUTS; c++)
        peak = scores[c] > peak ? scores[c] : peak;
    for (c = 0; c < OUTPUTS; c++)
        total += shares[c] = exp(scores[c] - peak);
    scale = peak + log(total);
    for (c = 0; c < OUTPUTS; c++) {
        scores[c] = fmax(scores[c] - scale, log(%(floor)s));
        shares[c] /= total;
    }
}

/* An average of logarithmic opinion pools. */
static int mix(const sample *s, double *served)
{
    unsigned char alive[EXPERTS];
    double logs[EXPERTS][OUTPUTS], weights[EXPERTS], last[OUTPUTS] = {0.0};
    double shares[OUTPUTS], scores[OUTPUTS];
    int k, c, m;
    for (k = 0; k < EXPERTS; k++) {
        real outputs[OUTPUTS];
        alive[k] = 1;
        if (k >= NETWORKS) {
            memcpy(logs[k], priors + (k - NETWORKS) * OUTPUTS, sizeof logs[k]);
            continue;
        }
        alive[k] = (unsigned char)run(&networks[k], s, outputs);
        normalize(&networks[k], outputs, shares);
        %(redirect)s;
        for (c = 0; c < OUTPUTS; c++)
            logs[k][c] = alive[k] ? log(fmax(shares[c], %(floor)s)) : 0.0;
    }
    for (c = 0; c < OUTPUTS; c++)
        served[c] = 0.0;
    weigh(alive, %(rate)s, weights);
    for (m = 0; m <= %(mixers)d; m++) {
        const double *own = m < %(mixers)d ? mixers + m * EXPERTS : weights;
        for (c = 0; c < OUTPUTS; c++) {
            scores[c] = 0.0;
            for (k = 0; k < EXPERTS; k++)
                scores[c] += own[k] * logs[k][c];
        }
        log_softmax(scores, shares);
        for (c = 0; c < OUTPUTS; c++) {
            last[c] += final[m] * scores[c];
            served[c] += shares_of_outputs[m] * shares[c];
        }
    }
    log_softmax(last, shares);
    for (c = 0; c < OUTPUTS; c++)
        served[c] += shares_of_outputs[%(mixers)d + 1] * shares[c];
    memcpy(shares, served, sizeof shares);
    %(redirect)s;
    memcpy(served, shares, sizeof shares);
    return 1;
}
"""

_PREDICT_LABEL = """\
int MODEL(predict)(const MODEL(input) *input, MODEL(output) *output)
{
    sample s;
    double highest = -1.0;
    int c, best = -1, is_known;
    encode(input, &s);
    is_known = mix(&s, output->probability);
    for (c = 0; c < OUTPUTS; c++) {
        double odds;
        if (!is_known)
            output->probability[c] = NAN;
        odds = %(odds)s;
%(sets)s        if (odds > highest) {
            highest = odds;
            best = c;
        }
    }
    return best;
}
"""


def _write_redirects(model: FrozenModel) -> str:
    redirects = model.redirects
    assert redirects is not None
    targets = [int(row.argmax()) if row.any() else -1 for row in redirects.moves]
    text = table("int", "targets", targets)
    rescale = ""
    if redirects.otherwise is not None:
        text += table("double", "otherwise", redirects.otherwise)
        rescale = """\
    for (c = 0; c < OUTPUTS; c++)
        total += moved[c];
    for (c = 0; c < OUTPUTS; c++)
        moved[c] = total > 0.0 ? moved[c] / total : otherwise[c];
"""
    total = "    double total = 0.0;\n" if rescale else ""
    return f"""\
{text}
/* Gives merged and retired classes no probability. */
static void redirect(double *shares)
{{
    double moved[OUTPUTS] = {{0.0}};
{total}    int c;
    for (c = 0; c < OUTPUTS; c++)
        if (targets[c] >= 0)
            moved[targets[c]] += shares[c];
{rescale}    memcpy(shares, moved, sizeof moved);
}}
"""


def _write_number_outputs(model: FrozenModel) -> str:
    center, spread, log_center, log_spread = (number(float(each)) for each in model.units)
    reach = MAX_DEVIATIONS * float(np.asarray(model.units.spread))
    parts = [
        f"""\
/* What a network says, in units of the target. */
static double to_units(const network *n, double output)
{{
    double x;
    if (!n->is_logarithmic)
        return {center} + {spread} * output;
    x = {log_center} + {log_spread} * output;
    return {center} + clip(copysign(expm1(fabs(x)), x) - {center}, {number(reach)});
}}
"""
    ]
    ensemble = model.ensemble
    if ensemble is None:
        parts.append(_ONE_NUMBER)
    else:
        parts += [
            _write_losses(ensemble),
            table("double", "mixers", ensemble.weights),
            table("double", "priors", ensemble.priors),
            table("double", "final", ensemble.final),
            table("double", "shares_of_outputs", ensemble.shares),
            _MIX_NUMBERS % {
                "center": number(model.scale[0]),
                "spread": number(model.scale[1]),
                "bound": number(ensemble.bound),
                "rate": number(ensemble.rate),
                "hedge": number(ensemble.hedge_rate),
                "linear": len(ensemble.weights),
            },
        ]  # fmt: skip
    interval = ""
    if isinstance(model.intervals, IntervalFormula):
        parts.append(_write_interval(model.intervals))
        interval = "    find_interval(output);\n"
    parts.append(_PREDICT_NUMBER % {"interval": interval})
    return "\n".join(parts)


_ONE_NUMBER = """\
static double mix(const sample *s)
{
    real output[1];
    return run(&networks[0], s, output) ? to_units(&networks[0], output[0]) : NAN;
}
"""

_MIX_NUMBERS = """\
static double multiply(const double *weights, const double *numbers, int count)
{
    double total = 0.0;
    int k;
    for (k = 0; k < count; k++)
        total += weights[k] * numbers[k];
    return total;
}

/* Weights in proportion to the mean loss to the power -8. */
static void weigh_by_inverse_loss(const unsigned char *alive, double *weights)
{
    double lowest = find_lowest(alive);
    int k;
    for (k = 0; k < EXPERTS; k++) {
        double ratio = mean_losses[k] > 0.0 ? lowest / mean_losses[k] : 1.0;
        weights[k] = counts[k] && alive[k] ? pow(ratio, 8.0) : 0.0;
    }
    divide_by_sum(weights);
}

/* An average of linear mixers, in standard units. */
static double mix(const sample *s)
{
    unsigned char alive[EXPERTS];
    double z[EXPERTS], weights[EXPERTS], mixed[%(linear)d + 4];
    int k;
    for (k = 0; k < EXPERTS; k++) {
        real output[1];
        alive[k] = 1;
        if (k >= NETWORKS) {
            z[k] = priors[k - NETWORKS];
            continue;
        }
        alive[k] = (unsigned char)run(&networks[k], s, output);
        z[k] = (to_units(&networks[k], output[0]) - %(center)s) / %(spread)s;
        z[k] = alive[k] ? clip(z[k], %(bound)s) : 0.0;
    }
    for (k = 0; k < %(linear)d; k++)
        mixed[k] = clip(multiply(mixers + k * EXPERTS, z, EXPERTS), %(bound)s);
    weigh(alive, %(hedge)s, weights);
    mixed[k++] = clip(multiply(weights, z, EXPERTS), %(bound)s);
    weigh_by_inverse_loss(alive, weights);
    mixed[k++] = clip(multiply(weights, z, EXPERTS), %(bound)s);
    weigh(alive, %(rate)s, weights);
    mixed[k++] = multiply(weights, z, EXPERTS);
    mixed[k] = clip(multiply(final, mixed, k), %(bound)s);
    return %(center)s + %(spread)s * multiply(shares_of_outputs, mixed, k + 1);
}
"""

_PREDICT_NUMBER = """\
int MODEL(predict)(const MODEL(input) *input, MODEL(output) *output)
{
    sample s;
    encode(input, &s);
    output->value = mix(&s);
%(interval)s    return output->value - output->value == 0.0 ? 0 : -1;
}
"""


def _write_interval(formula: IntervalFormula) -> str:
    standard = ""
    if formula.spread > 0.0:
        z = f"clip((x - {number(formula.mean)}) / {number(formula.spread)}, {MAX_FEATURE!r})"
        standard = f"    factor += {number(formula.by_number)} * {z};\n"
    size = f"(fabs(x) + {number(formula.size)}) / {number(formula.total)}"
    return f"""\
static void find_interval(MODEL(output) *output)
{{
    double x = clip(output->value, {number(MAX_NUMBER)}), half;
    double factor = {number(formula.constant)};
    factor += {number(formula.by_size)} * clip(log({size}), {MAX_FEATURE!r});
{standard}    half = exp({number(formula.log_size)} + clip(factor, {MAX_LOG_FACTOR!r}));
    output->lower = x - half;
    output->upper = x + half;
}}
"""
