/* Memory for the walk's arrays, straight from the system: malloc would keep freed tables, and copy arrays that
   grow, as soon as its threshold for mappings has risen. */

#ifndef NBMEM_MEMORY_H
#define NBMEM_MEMORY_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define NBMEM_PREFIX 64            /* in front of each array: its size; the array stays aligned to cache lines */
#define NBMEM_SMALL (256 * 1024)   /* up to this malloc serves */
/* From this on huge pages pay. They save a tenth of a large walk, but where the system has to make them first, by
   moving others' memory or asking the host of a virtual machine for it, each MiB takes as long as four in small ones. */
#define NBMEM_LARGE (16 << 20)

typedef struct { size_t size; int mapped; } NbmemPrefix;

static inline NbmemPrefix *nbmem_prefix(void *array)
{
    return (NbmemPrefix *)((char *)array - NBMEM_PREFIX);
}

static void nbmem_free(void *array)
{
    if (array == NULL)
        return;
    if (nbmem_prefix(array)->mapped)
        munmap(nbmem_prefix(array), nbmem_prefix(array)->size);
    else
        free(nbmem_prefix(array));
}

/* Give an array; it is all zeros. NULL: no memory. */
static void *nbmem_zeros(size_t size)
{
    NbmemPrefix *prefix;
    size += NBMEM_PREFIX;
    if (size <= NBMEM_SMALL) {
        prefix = (NbmemPrefix *)calloc(1, size);
        if (prefix == NULL)
            return NULL;
    }
    else {
        size = (size + 4095) & ~(size_t)4095;
        prefix = (NbmemPrefix *)mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if ((void *)prefix == MAP_FAILED)
            return NULL;
        if (size >= NBMEM_LARGE)
            madvise(prefix, size, MADV_HUGEPAGE);  /* a refusal does no harm */
        prefix->mapped = 1;
    }
    prefix->size = size;
    return (char *)prefix + NBMEM_PREFIX;
}

/* Give an array another size; NULL, and the array left as it was: no memory. */
static void *nbmem_resized(void *array, size_t size)
{
    NbmemPrefix *prefix;
    void *moved;
    size_t wanted = (size + NBMEM_PREFIX + 4095) & ~(size_t)4095;
    if (array == NULL)
        return nbmem_zeros(size);
    prefix = nbmem_prefix(array);
    if (prefix->mapped) {
        moved = mremap(prefix, prefix->size, wanted, MREMAP_MAYMOVE);
        if (moved == MAP_FAILED)
            return NULL;
        if (wanted >= NBMEM_LARGE)
            madvise(moved, wanted, MADV_HUGEPAGE);
        ((NbmemPrefix *)moved)->size = wanted;
        return (char *)moved + NBMEM_PREFIX;
    }
    moved = nbmem_zeros(size);
    if (moved == NULL)
        return NULL;
    memcpy(moved, array, (prefix->size < size + NBMEM_PREFIX ? prefix->size - NBMEM_PREFIX : size));
    nbmem_free(array);
    return moved;
}

#endif
