// Enough of CUDA to run a cooperative kernel on a processor: all blocks are resident, and each CUDA thread has a stack
// of its own and runs until it waits for others. An `Order` says who runs next, and may leave out one barrier.
//
// Global memory is as little coherent as a device may have it: a block sees what was there before the kernel and what
// it wrote itself. What others wrote before they arrived at a barrier, it sees by __ldcg() only.
#pragma once

#define XPNET_HOST

#include <math.h>
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(...)
#define __shared__ static  // only in kernels that do not run here: a grid has shared_memory()

using std::max;
using std::min;

struct Position {
    unsigned x;
};

inline Position threadIdx, blockIdx, blockDim, gridDim;

namespace grid {

constexpr unsigned warp = 32;
constexpr std::size_t stack = 64 << 10, guard = 4096;
constexpr unsigned char unwritten = 0xff;  // of a float that is a nan

struct Order {
    enum Kind : unsigned { forwards, backwards, lockstep, random } kind;
    unsigned seed;
    int without_line;     // of a __syncthreads(), __syncwarp() or await_copies() where no thread waits; 0 for none
    int without_barrier;  // of the grid, counted in each step, at which no block waits; -1 for none
    int barriers;         // of the grid, in a step
};

enum class State { ready, waits, polls, done };

// What one copy_later() copies.
using Bits = std::array<std::uint64_t, 2>;

struct Copy {
    void* to;
    const void* from;
};

struct Thread {
    ucontext_t entry;
    jmp_buf at;
    State state;
    bool has_begun;
    const unsigned* counter;
    unsigned target, waited;
    std::vector<Copy> copies;
};

// Threads that wait for each other.
struct Group {
    unsigned arrived;
    int line;
};

struct Warp {
    Group group;
    unsigned exchanges;
    std::uint64_t slots[2][warp];
};

using Bytes = std::vector<unsigned char>;

struct Block {
    Group group;
    Bytes shared;
    Bytes cache, published;  // of the global memory: as this block sees it, and as it was when others could see it too
};

struct Memory {
    unsigned char* begin;
    std::size_t size;
};

inline std::vector<Thread> threads;
inline std::vector<Warp> warps;
inline std::vector<Block> blocks;
inline std::unique_ptr<char[]> stacks;  // no page of memory is touched that no thread needs
inline unsigned current;
inline jmp_buf scheduler;
inline Order order;
inline const char* fault;
inline Memory global;  // what all blocks can see

// The next pseudorandom number below n; an LCG, because it need not be good but the same everywhere.
inline unsigned below(unsigned n)
{
    order.seed = order.seed * 1664525 + 1013904223;
    return (order.seed >> 8) % n;
}

inline void leave()
{
    if (_setjmp(threads[current].at) == 0) _longjmp(scheduler, 1);
}

inline void fail(const char* reason)
{
    fault = reason;
    leave();
}

// Waits until all `size` threads from `begin` on are in this line.
inline void gather(Group& group, unsigned begin, unsigned size, int line)
{
    if (group.arrived && group.line != line) return fail("threads wait for each other in different lines");
    group.line = line;
    if (++group.arrived < size) {
        threads[current].state = State::waits;
        return leave();
    }
    group.arrived = 0;
    for (unsigned t = begin; t < begin + size; ++t) threads[t].state = State::ready;
    if (order.kind == Order::lockstep || (order.kind == Order::random && below(2))) leave();
}

inline void wait_for_block(int line)
{
    if (line == 0 || line != order.without_line) gather(blocks[blockIdx.x].group, current - threadIdx.x, blockDim.x, line);
}

inline void wait_for_warp(int line)
{
    if (line != order.without_line) gather(warps[current / warp].group, current - current % warp, warp, line);
}

// Returns what each lane of the warp gives.
template <typename V> const std::uint64_t* meet(unsigned mask, V mine, int line)
{
    static_assert(sizeof(V) <= sizeof(std::uint64_t));
    if (~mask) fail("not all lanes of a warp take part");
    Warp& found = warps[current / warp];
    // Two sets: a lane can be one exchange ahead of those that have yet to read.
    std::uint64_t* slots = found.slots[found.exchanges % 2];
    std::memcpy(&slots[current % warp], &mine, sizeof(V));
    found.exchanges += found.group.arrived + 1 == warp;
    gather(found.group, current - current % warp, warp, line);
    return slots;
}

template <typename V> V exchange(unsigned mask, V mine, unsigned from, int line)
{
    std::memcpy(&mine, &meet(mask, mine, line)[from % warp], sizeof(V));
    return mine;
}

inline unsigned ballot(unsigned mask, std::uint64_t mine, int line)
{
    const std::uint64_t* slots = meet(mask, mine, line);
    unsigned bits = 0;
    for (unsigned lane = 0; lane < warp; ++lane) bits |= unsigned(slots[lane] != 0) << lane;
    return bits;
}

// The place in global memory of what a block points at; beyond its end for what is elsewhere.
template <typename V> std::size_t place(const V* at)
{
    return reinterpret_cast<std::uintptr_t>(at) - reinterpret_cast<std::uintptr_t>(blocks[blockIdx.x].cache.data());
}

template <typename V> V* in_global(V* at)
{
    return place(at) < global.size ? reinterpret_cast<V*>(global.begin + place(at)) : at;
}

template <typename V> V read(const V* at)
{
    const Block& mine = blocks[blockIdx.x];
    std::size_t from = place(at);
    if (from >= global.size) return *at;
    V found;
    for (std::size_t i = 0; i < sizeof(V); ++i) {
        bool is_own = mine.cache[from + i] != mine.published[from + i];
        reinterpret_cast<unsigned char*>(&found)[i] = is_own ? mine.cache[from + i] : global.begin[from + i];
    }
    return found;
}

// Lets all blocks see what one wrote.
inline void publish(Block& block)
{
    constexpr std::size_t line = 64;
    for (std::size_t begin = 0; begin < global.size; begin += line) {
        std::size_t size = std::min(line, global.size - begin);
        if (std::memcmp(&block.cache[begin], &block.published[begin], size) == 0) continue;
        for (std::size_t i = begin; i < begin + size; ++i) {
            if (block.cache[i] != block.published[i]) global.begin[i] = block.published[i] = block.cache[i];
        }
    }
}

inline void arrive(unsigned* counter)
{
    // They could overwrite what the block keeps in the same memory after the barrier.
    if (!threads[current].copies.empty() && !order.without_line) fail("a block does not wait for its copies");
    publish(blocks[blockIdx.x]);
    ++*in_global(counter);
}

inline void await(const unsigned* counter, unsigned target)
{
    Thread& mine = threads[current];
    if (int(mine.waited++ % order.barriers) == order.without_barrier) return;
    mine.counter = in_global(counter);
    mine.target = target;
    mine.state = State::polls;
    leave();
}

inline void finish_copies(Thread& thread)
{
    for (auto [to, from] : thread.copies) {
        const auto found = read(static_cast<const Bits*>(from));
        std::memcpy(to, &found, sizeof(found));
    }
    thread.copies.clear();
}

inline void wait_for_copies(int line)
{
    if (line != order.without_line) finish_copies(threads[current]);
}

// Runs a thread until it waits, and returns whether it could.
inline bool resume(unsigned t)
{
    Thread& next = threads[t];
    if (next.state == State::polls && int(*next.counter - next.target) >= 0) next.state = State::ready;
    if (next.state != State::ready) return false;
    current = t;
    blockIdx.x = t / blockDim.x;
    threadIdx.x = t % blockDim.x;
    if (_setjmp(scheduler) == 0) {
        if (next.has_begun) _longjmp(next.at, 1);
        next.has_begun = true;
        setcontext(&next.entry);
    }
    return true;
}

// Lets n of something run in turn, `run` of each, until all wait for others; in lockstep only once, and in random
// order only a few times. Returns whether any could run.
template <typename Run> bool take_turns(std::vector<unsigned>& turns, unsigned n, Run run)
{
    unsigned rounds = order.kind == Order::lockstep ? 1 : order.kind == Order::random ? 1 + below(20) : ~0u;
    bool any = false;
    for (bool more = true; more && rounds > 0; --rounds) {
        more = false;
        turns.resize(n);
        for (unsigned i = 0; i < n; ++i) turns[i] = order.kind == Order::backwards ? n - 1 - i : i;
        if (order.kind == Order::random) {
            for (unsigned i = n; i > 1; --i) std::swap(turns[i - 1], turns[below(i)]);
        }
        for (unsigned i : turns) more |= !fault && run(i);
        any |= more;
    }
    return any;
}

inline std::vector<unsigned> of_blocks, of_warps, of_lanes;

inline bool run_block(unsigned block)
{
    return take_turns(of_warps, blockDim.x / warp, [block](unsigned w) {
        unsigned first = block * blockDim.x + w * warp;
        return take_turns(of_lanes, warp, [first](unsigned lane) { return resume(first + lane); });
    });
}

inline const char* run()
{
    while (take_turns(of_blocks, gridDim.x, run_block)) {}
    stacks.reset();
    for (const Thread& each : threads) {
        if (each.state != State::done && !fault) fault = "threads wait for others for ever";
    }
    for (Block& block : blocks) {
        publish(block);
        auto rest = block.shared.end() - guard;
        if (std::any_of(rest, block.shared.end(), [](unsigned char byte) { return byte != unwritten; })) {
            fault = "a block wrote behind its shared memory";
        }
    }
    return fault;
}

template <typename... Parameters>
struct Launch {
    static inline void (*kernel)(Parameters...);
    static inline void** args;

    // A pointer into global memory becomes one into what the block sees of it.
    template <typename P> static P seen(P argument)
    {
        if constexpr (std::is_pointer_v<P>) {
            std::size_t at = reinterpret_cast<std::uintptr_t>(argument) - reinterpret_cast<std::uintptr_t>(global.begin);
            if (at < global.size) return reinterpret_cast<P>(blocks[blockIdx.x].cache.data() + at);
        }
        return argument;
    }

    template <std::size_t... i> static void call(std::index_sequence<i...>)
    {
        kernel(seen(*static_cast<Parameters*>(args[i]))...);
    }

    static void enter()
    {
        call(std::index_sequence_for<Parameters...>());
        threads[current].state = State::done;
        leave();
    }
};

// What a kernel is launched on.
struct Grid {
    unsigned blocks, threads;
    std::size_t shared;
    Memory global;
};

// Takes the addresses of a kernel's arguments, as cudaLaunchCooperativeKernel does; returns what went wrong, or null.
template <typename... Parameters>
const char* launch(void (*kernel)(Parameters...), void** args, const Grid& size, const Order& given)
{
    Launch<Parameters...>::kernel = kernel;
    Launch<Parameters...>::args = args;
    gridDim.x = size.blocks;
    blockDim.x = size.threads;
    global = size.global;
    order = given;
    fault = nullptr;
    const std::size_t all = std::size_t(size.blocks) * size.threads;
    const Bytes seen(global.begin, global.begin + global.size);
    blocks.assign(size.blocks, {{}, Bytes(size.shared + guard, unwritten), seen, seen});
    warps.assign((all + warp - 1) / warp, {});
    stacks = std::make_unique_for_overwrite<char[]>(all * stack);
    threads.resize(all);
    for (std::size_t t = 0; t < all; ++t) {
        threads[t].state = State::ready;
        threads[t].has_begun = false;
        threads[t].waited = 0;
        threads[t].copies.clear();
        getcontext(&threads[t].entry);
        threads[t].entry.uc_stack.ss_sp = &stacks[t * stack];
        threads[t].entry.uc_stack.ss_size = stack;
        makecontext(&threads[t].entry, Launch<Parameters...>::enter, 0);
    }
    return run();
}

}  // namespace grid

// What a kernel calls. A macro knows its line.
#define __syncthreads() grid::wait_for_block(__LINE__)
#define __syncwarp() grid::wait_for_warp(__LINE__)
#define await_copies() grid::wait_for_copies(__LINE__)
#define __shfl_sync(mask, mine, lane) grid::exchange(mask, mine, lane, __LINE__)
#define __shfl_xor_sync(mask, mine, other) grid::exchange(mask, mine, threadIdx.x ^ (other), __LINE__)
#define __ballot_sync(mask, mine) grid::ballot(mask, mine, __LINE__)

struct uint2 {
    unsigned x, y;
};

struct uint4 {
    unsigned x, y, z, w;
};

inline unsigned char* shared_memory() { return grid::blocks[blockIdx.x].shared.data(); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline void __threadfence() {}
inline unsigned atomicAdd(unsigned* at, unsigned more) { return std::exchange(*at, *at + more); }
template <typename V> V __ldg(const V* at) { return *at; }
template <typename V> V __ldcg(const V* at) { return grid::read(at); }
template <typename V> void __stcg(V* at, V value) { *at = value; }
inline void prefetch(const void*) {}

// Copies in one of the orders at once, in the others only when that is waited for.
inline void copy_later(void* to, const void* from)
{
    auto& mine = grid::threads[grid::current];
    mine.copies.push_back({to, from});
    if (grid::order.kind == grid::Order::backwards) grid::finish_copies(mine);
}

inline void grid_arrive(unsigned* counter)
{
    grid::wait_for_block(0);
    if (threadIdx.x == 0) grid::arrive(counter);
}

inline void grid_wait(const unsigned* counter, unsigned target)
{
    if (threadIdx.x == 0) grid::await(counter, target);
    grid::wait_for_block(0);
}
