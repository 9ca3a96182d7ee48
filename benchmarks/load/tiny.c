/* The cheapest program there is: it ends. Linked without libc, so nothing else is measured. */
void _start(void) {
#if defined(__x86_64__)
    __asm__ volatile("mov $60, %eax\n xor %edi, %edi\n syscall");
#elif defined(__aarch64__)
    __asm__ volatile("mov x8, #93\n mov x0, #0\n svc #0");
#else
#error "no exit is known for this machine"
#endif
    __builtin_unreachable();
}
