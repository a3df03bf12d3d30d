// Tries what C++ programs ask of a kernel: exceptions in threads, static construction, streams, futures.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct Global {
    Global() { std::cout << "constructed\n"; }
    ~Global() { std::cout << "destroyed" << std::endl; }
} global;

static thread_local int mine = 5;

static int deep(int depth)
{
    std::string held(100, 'x');
    if (depth == 0)
        throw std::runtime_error("from the depth");
    return deep(depth - 1) + static_cast<int>(held.size());
}

int main()
{
    std::vector<std::thread> threads;
    std::mutex lock;
    std::map<int, std::string> caught;
    for (int i = 0; i < 8; i++)
        threads.emplace_back([&, i] {
            mine += i;
            try {
                deep(i * 10);
            } catch (const std::exception &e) {
                std::lock_guard<std::mutex> guard(lock);
                caught[mine] = e.what();
            }
        });
    for (auto &thread : threads)
        thread.join();
    for (const auto &[number, what] : caught)
        std::cout << number << ' ' << what << '\n';

    auto future = std::async(std::launch::async, [] { return deep(3); });
    try {
        future.get();
    } catch (const std::runtime_error &e) {
        std::cout << "future: " << e.what() << '\n';
    }
    std::condition_variable ready;
    std::unique_lock<std::mutex> guard(lock);
    std::cout << (ready.wait_for(guard, std::chrono::milliseconds(5)) == std::cv_status::timeout) << '\n';
    try {
        std::ifstream missing;
        missing.exceptions(std::ios::failbit);
        missing.open("/missing");
    } catch (const std::ios::failure &) {
        std::cout << "no such file\n";
    }
    std::ofstream("lines") << "b\na\nc\n";
    std::ifstream file("lines");
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);)
        lines.push_back(line);
    std::sort(lines.begin(), lines.end());
    for (const auto &line : lines)
        std::cout << line << '\n';
    try {
        std::vector<char> huge(static_cast<size_t>(1) << 46);
    } catch (const std::bad_alloc &) {
        std::cout << "no memory\n";
    }
    return 4;
}
