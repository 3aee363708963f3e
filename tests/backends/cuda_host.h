// Enough of CUDA to run kernels.cu on a CPU: a std::thread is a thread of a block, and the blocks take turns.
#pragma once

#include <math.h>

#include <barrier>
#include <thread>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

struct Position {
    unsigned x;
};

inline thread_local Position threadIdx, blockIdx;
inline Position blockDim, gridDim;
inline std::barrier<>* gate;

inline void __syncthreads() { gate->arrive_and_wait(); }
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

// Takes the addresses of a kernel's arguments, as cudaLaunchKernel does.
template <typename... Parameters>
void launch(void (*kernel)(Parameters...), void** args, unsigned blocks, unsigned threads)
{
    std::barrier<> all(threads);
    gate = &all;
    blockDim.x = threads;
    gridDim.x = blocks;
    std::vector<std::jthread> team;
    for (unsigned t = 0; t < threads; ++t) {
        team.emplace_back([=] {
            threadIdx.x = t;
            for (unsigned b = 0; b < blocks; ++b) {
                blockIdx.x = b;
                call(kernel, args, std::index_sequence_for<Parameters...>());
                __syncthreads();
            }
        });
    }
}
