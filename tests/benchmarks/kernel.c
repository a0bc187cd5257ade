/* The yardstick: one hidden layer, logistic units, half squared error, plain gradient descent,
   one sample a step, written as a C programmer would. Compiled with -O3 -march=native -ffast-math.
   Weights of a network: w1[inputs + 1][hidden] (the last row is the bias), then
   w2[outputs][hidden + 1] (the last column is the bias). */
#include <math.h>

static inline float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

void learn(int networks, int samples, int inputs, int hidden, int outputs, float rate,
           const float *x, const float *y, float *weights, float *answers)
{
    const int size = (inputs + 1) * hidden + outputs * (hidden + 1);
    float h[4096], d[4096];
    for (int k = 0; k < networks; k++) {
        float *w1 = weights + (long)k * size, *w2 = w1 + (inputs + 1) * hidden;
        for (int s = 0; s < samples; s++) {
            const float *in = x + (long)s * inputs, *truth = y + (long)s * outputs;
            float *out = answers + ((long)k * samples + s) * outputs;
            for (int j = 0; j < hidden; j++) h[j] = w1[inputs * hidden + j];
            for (int i = 0; i < inputs; i++)
                for (int j = 0; j < hidden; j++) h[j] += in[i] * w1[i * hidden + j];
            for (int j = 0; j < hidden; j++) h[j] = logistic(h[j]);
            for (int j = 0; j < hidden; j++) d[j] = 0.0f;
            for (int o = 0; o < outputs; o++) {
                float *w = w2 + o * (hidden + 1), sum = w[hidden];
                for (int j = 0; j < hidden; j++) sum += w[j] * h[j];
                const float p = logistic(sum), g = (p - truth[o]) * p * (1.0f - p);
                out[o] = p;
                for (int j = 0; j < hidden; j++) d[j] += g * w[j];
                for (int j = 0; j < hidden; j++) w[j] -= rate * g * h[j];
                w[hidden] -= rate * g;
            }
            for (int j = 0; j < hidden; j++) d[j] *= rate * h[j] * (1.0f - h[j]);
            for (int i = 0; i < inputs; i++)
                for (int j = 0; j < hidden; j++) w1[i * hidden + j] -= in[i] * d[j];
            for (int j = 0; j < hidden; j++) w1[inputs * hidden + j] -= d[j];
        }
    }
}
