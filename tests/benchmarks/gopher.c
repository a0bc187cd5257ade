/* gopher-neural's recurrence as a plain C loop in double: logistic units, no biases, one sample a
 * step, every delta before any weight moves. */

#include <math.h>

static double logistic(double x) { return 1.0 / (1.0 + exp(-x)); }

void learn(int samples, int inputs, int hidden, int outputs, double rate, const double *x,
           const double *y, double *weights, double *answers) {
  double *first = weights, *second = weights + (long)hidden * inputs;
  double h[256], above[256], below[256];
  for (int s = 0; s < samples; s++, x += inputs, y += outputs, answers += outputs) {
    for (int j = 0; j < hidden; j++) {
      double sum = 0.0;
      for (int i = 0; i < inputs; i++) sum += first[j * inputs + i] * x[i];
      h[j] = logistic(sum);
    }
    for (int o = 0; o < outputs; o++) {
      double sum = 0.0;
      for (int j = 0; j < hidden; j++) sum += second[o * hidden + j] * h[j];
      answers[o] = logistic(sum);
      above[o] = answers[o] * (1.0 - answers[o]) * (y[o] - answers[o]);
    }
    for (int j = 0; j < hidden; j++) {
      double sum = 0.0;
      for (int o = 0; o < outputs; o++) sum += second[o * hidden + j] * above[o];
      below[j] = h[j] * (1.0 - h[j]) * sum;
    }
    for (int o = 0; o < outputs; o++)
      for (int j = 0; j < hidden; j++) second[o * hidden + j] += rate * above[o] * h[j];
    for (int j = 0; j < hidden; j++)
      for (int i = 0; i < inputs; i++) first[j * inputs + i] += rate * below[j] * x[i];
  }
}
