// Enough of CUDA to run kernels on a CPU: the threads of a block take turns, from one __syncthreads() to the
// next, and so do the blocks.
#pragma once

#include <math.h>
#include <ucontext.h>

#include <algorithm>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

struct Position {
    unsigned x;
};

inline Position threadIdx, blockIdx, blockDim, gridDim;

struct Thread {
    ucontext_t context;
    bool runs;
};

inline std::vector<Thread> team;
inline std::vector<char> stacks;
inline ucontext_t scheduler;

// Lets the other threads of the block come here.
inline void __syncthreads()
{
    swapcontext(&team[threadIdx.x].context, &scheduler);
}

inline void __threadfence() {}

// Blocks take turns, and one thread of each calls this.
inline unsigned atomicAdd(unsigned* at, unsigned more)
{
    unsigned before = *at;
    *at += more;
    return before;
}

template <typename... Parameters, std::size_t... i>
void call(void (*kernel)(Parameters...), void** args, std::index_sequence<i...>)
{
    kernel(*static_cast<Parameters*>(args[i])...);
}

template <typename... Parameters>
struct Launch {
    static inline void (*kernel)(Parameters...);
    static inline void** args;

    static void run()
    {
        call(kernel, args, std::index_sequence_for<Parameters...>());
        team[threadIdx.x].runs = false;
    }
};

// Takes the addresses of a kernel's arguments, as cudaLaunchKernel does.
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), void** args, unsigned blocks, unsigned threads)
{
    constexpr std::size_t stack = 64 << 10;
    Launch<Parameters...>::kernel = kernel;
    Launch<Parameters...>::args = args;
    team.resize(std::max<std::size_t>(team.size(), threads));
    stacks.resize(std::max(stacks.size(), threads * stack));
    blockDim.x = threads;
    gridDim.x = blocks;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
        for (unsigned t = 0; t < threads; ++t) {
            getcontext(&team[t].context);
            team[t].context.uc_stack.ss_sp = &stacks[t * stack];
            team[t].context.uc_stack.ss_size = stack;
            team[t].context.uc_link = &scheduler;
            makecontext(&team[t].context, Launch<Parameters...>::run, 0);
            team[t].runs = true;
        }
        // In both directions, so that a kernel that needs another barrier is wrong in one of them.
        bool any = true, backwards = blockIdx.x % 2;
        for (; any; backwards = !backwards) {
            any = false;
            for (unsigned i = 0; i < threads; ++i) {
                threadIdx.x = backwards ? threads - 1 - i : i;
                if (team[threadIdx.x].runs) {
                    any = true;
                    swapcontext(&scheduler, &team[threadIdx.x].context);
                }
            }
        }
    }
}
