/* kernel/reference.h - the C reference of every table entry; the generic level is made of these.
 *
 * Idea: plain loops, kept forever. A SIMD level may call one for a case it does not improve. */
#ifndef KERNEL_REFERENCE_H
#define KERNEL_REFERENCE_H

#include "kernel/kernel.h"

size_t kernel_act_row_bytes_c(uint32_t type, uint32_t n_in);
void kernel_act_prepare_c(uint32_t type, const float *x, uint32_t n_rows, uint32_t n_in, void *act);
void kernel_matmul_c(const struct kernel_mat *w, uint32_t o0, uint32_t o1,
                     const struct kernel_act *x, float *y, size_t ldy);
void kernel_dequantize_row_c(uint32_t type, const void *src, float *dst, size_t n);

void kernel_rmsnorm_c(const float *x, const float *w, float w_plus, float eps, float *y, size_t n);
void kernel_layernorm_c(const float *x, const float *w, const float *b, float eps, float *y,
                        size_t n);
void kernel_rope_c(float *x, const float *cs, uint32_t n_dims, int adjacent);
void kernel_softmax_c(float *x, size_t n);
void kernel_add_c(float *y, const float *x, size_t n);
void kernel_scale_c(float *y, float s, size_t n);
void kernel_silu_mul_c(float *gate, const float *up, size_t n);
void kernel_gelu_mul_c(float *gate, const float *up, size_t n);
void kernel_softcap_c(float *x, float cap, size_t n);
float kernel_dot_c(const float *a, const float *b, size_t n);
uint32_t kernel_argmax_c(const float *x, size_t n);
int kernel_any_nan_c(const float *x, size_t n);
double kernel_exp_sum_c(const float *x, float shift, float scale, float *y, size_t n);
double kernel_sum_from_c(const float *x, float from, size_t n);
size_t kernel_find_from_c(const float *x, float from, size_t n, uint32_t *ids);

void kernel_delta_c(const struct kernel_delta *d, uint32_t panel0, uint32_t panel1);
void kernel_conv_silu_c(const float *w, size_t ld_w, const float *const *taps, uint32_t n_taps,
                        float *y, size_t n);
void kernel_decay_c(float *f, const float *bias, float a, size_t n);
void kernel_sigmoid_mul_c(float *x, const float *gate, size_t n);

void kernel_kv_store_c(uint32_t kv_type, const float *x, void *dst, size_t n);
void kernel_attn_part_c(const struct kernel_attn *a, const struct kernel_kv *kv,
                        const struct kernel_attn_rows *r, uint32_t part, float *states,
                        void *scratch);

#endif
