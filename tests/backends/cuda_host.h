// Enough of CUDA to run kernels on a CPU: the threads of a block take turns, each until it waits for its warp or
// its block, and so do the blocks.
#pragma once

#include <math.h>
#include <stdlib.h>
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

constexpr unsigned LANES = 32;  // of a warp

enum class State { WAITS_FOR_WARP, WAITS_FOR_BLOCK, ENDED };

struct Thread {
    ucontext_t context;
    State state;
    double number;  // what it gives to another lane
};

inline std::vector<Thread> team;
inline std::vector<char> stacks;
inline ucontext_t scheduler;

inline void wait(State state)
{
    Thread& mine = team[threadIdx.x];
    mine.state = state;
    swapcontext(&mine.context, &scheduler);
}

inline void __syncthreads()
{
    wait(State::WAITS_FOR_BLOCK);
}

// All threads of the warp that have not ended must call it, so one that others wait for in vain is found.
template <typename T> T __shfl_xor_sync(unsigned, T mine, int apart)
{
    team[threadIdx.x].number = mine;
    wait(State::WAITS_FOR_WARP);
    T other = T(team[threadIdx.x ^ unsigned(apart)].number);
    wait(State::WAITS_FOR_WARP);
    return other;
}

// Whether these threads can go on: all that have not ended wait for the same.
inline bool is_complete(unsigned begin, unsigned end, State state)
{
    return std::all_of(team.begin() + begin, team.begin() + end, [=](const Thread& t) {
        return t.state == state || t.state == State::ENDED;
    });
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
        team[threadIdx.x].state = State::ENDED;
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
            team[t].state = State::WAITS_FOR_BLOCK;
        }
        // In both directions, so that a kernel that needs another barrier is wrong in one of them.
        for (bool backwards = blockIdx.x % 2; !is_complete(0, threads, State::ENDED); backwards = !backwards) {
            bool any = false, together = false, all = is_complete(0, threads, State::WAITS_FOR_BLOCK);
            for (unsigned i = 0; i < threads; ++i) {
                threadIdx.x = backwards ? threads - 1 - i : i;
                if (threadIdx.x % LANES == (backwards ? LANES - 1 : 0) || i == 0) {
                    unsigned begin = threadIdx.x / LANES * LANES, end = std::min(begin + LANES, threads);
                    together = all || is_complete(begin, end, State::WAITS_FOR_WARP);
                }
                if (together && team[threadIdx.x].state != State::ENDED) {
                    any = true;
                    swapcontext(&scheduler, &team[threadIdx.x].context);
                }
            }
            if (!any) abort();  // They wait for each other.
        }
    }
}
