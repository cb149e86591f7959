/* POSIX semaphores, for cffi. sem_t is as large as any C library's, or larger: 32 bytes on arm64. */
typedef struct {
	long words[16];
} sem_t;

int sem_init(sem_t *sem, int pshared, unsigned int value);
int sem_post(sem_t *sem);
int sem_trywait(sem_t *sem);
