// Raises #SS by a gather whose vector of indices leads far from the stack (AVX2). The kernel does not look at such indices, so
// it does not believe the host that this was #SS.
int main(void)
{
    __asm__ volatile("vmovq %0, %%xmm1\n vpbroadcastq %%xmm1, %%ymm1\n vpcmpeqd %%ymm2, %%ymm2, %%ymm2\n"
                     "vpgatherqq %%ymm2, (%%rsp,%%ymm1), %%ymm0"
                     : : "r"(1UL << 62) : "xmm0", "xmm1", "xmm2");
    return 0;
}
