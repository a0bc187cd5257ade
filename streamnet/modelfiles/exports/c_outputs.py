"""What networks say in C: as probabilities or numbers, combined by the ensemble."""

from __future__ import annotations

import numpy as np

from streamnet.features.columns.target import MAX_DEVIATIONS
from streamnet.modelfiles.exports.c_text import number, strings, table
from streamnet.modelfiles.exports.frozen_model import FrozenModel
from streamnet.selection.conformal import MAX_FEATURE, MAX_LOG_FACTOR, MAX_NUMBER, IntervalFormula
from streamnet.selection.ensemble.base import PRIORS
from streamnet.selection.ensemble.frozen import FrozenEnsemble


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


def write_label_outputs(model: FrozenModel) -> str:
    """The function ``predict`` for labels, with all that it calls after ``run``."""
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


def write_number_outputs(model: FrozenModel) -> str:
    """The function ``predict`` for numbers, with all that it calls after ``run``."""
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
