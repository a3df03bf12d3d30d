// Raises #SS with a stack pointer that is good: an index from it leads nowhere. Of that an enclave learns nothing.
int main(void)
{
    __asm__ volatile("mov (%%rsp,%0), %%eax" : : "r"(1UL << 62) : "eax");
    return 0;
}
