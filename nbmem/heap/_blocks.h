/* Memory for the arrays of a walk: large ones are mappings of their own, which grow without being copied and go
   back to the system at once, whatever malloc has learned about block sizes meanwhile. */

#ifndef NBMEM_BLOCKS_H
#define NBMEM_BLOCKS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define NBMEM_MAPPED_FROM ((size_t)1 << 17)
#define NBMEM_HUGE_FROM ((size_t)1 << 22)

/* Stands in front of each block; as large as a cache line. */
typedef union { size_t total; char line[64]; } NbmemBlock;

static inline int nbmem_is_mapped(size_t total) { return total >= NBMEM_MAPPED_FROM; }

static void *nbmem_begun(void *memory, size_t total)
{
    if (memory == NULL || memory == MAP_FAILED)
        return NULL;
    ((NbmemBlock *)memory)->total = total;
    return (NbmemBlock *)memory + 1;
}

/* Filled with zeros where it is large. */
static void *nbmem_malloc(size_t size)
{
    size_t total = size + sizeof(NbmemBlock);
    if (!nbmem_is_mapped(total))
        return nbmem_begun(malloc(total), total);
    return nbmem_begun(mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), total);
}

static void *nbmem_calloc(size_t count, size_t item)
{
    size_t total = count * item + sizeof(NbmemBlock);
    void *block;
    if (!nbmem_is_mapped(total))
        return nbmem_begun(calloc(1, total), total);
    block = nbmem_malloc(count * item);
#ifdef MADV_HUGEPAGE
    /* a table that is read here and there: fewer, larger pages are found faster */
    if (block != NULL && total >= NBMEM_HUGE_FROM)
        (void)madvise((NbmemBlock *)block - 1, total, MADV_HUGEPAGE);
#endif
    return block;
}

static void nbmem_free(void *block)
{
    NbmemBlock *begin = (NbmemBlock *)block - 1;
    if (block == NULL)
        return;
    if (nbmem_is_mapped(begin->total))
        munmap(begin, begin->total);
    else
        free(begin);
}

static void *nbmem_realloc(void *block, size_t size)
{
    NbmemBlock *begin = (NbmemBlock *)block - 1;
    size_t total = size + sizeof(NbmemBlock), before;
    void *other;
    if (block == NULL)
        return nbmem_malloc(size);
    before = begin->total;
    if (nbmem_is_mapped(before) && nbmem_is_mapped(total))
        return nbmem_begun(mremap(begin, before, total, MREMAP_MAYMOVE), total);
    if (!nbmem_is_mapped(before) && !nbmem_is_mapped(total))
        return nbmem_begun(realloc(begin, total), total);
    other = nbmem_malloc(size);
    if (other == NULL)
        return NULL;
    memcpy(other, block, (before < total ? before : total) - sizeof(NbmemBlock));
    nbmem_free(block);
    return other;
}

#endif
