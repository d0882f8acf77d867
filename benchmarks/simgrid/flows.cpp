// Flows through SimGrid's CM02 model: `flows < case > result`.
//
// The case, in words separated by blanks:
//   links L, then for each its bytes per second and latency in seconds
//   hosts H
//   routes R, then for each: source host, target host, number of links, the links
//   flows F, then for each, by release: release in seconds, source host, target host, bytes
// The result: CPU seconds of the simulation alone, then the seconds at which each flow ended.
//
// One actor starts every transfer and waits for none before all are started, so that SimGrid has
// nothing to do but its network.
#include <cstdio>
#include <ctime>
#include <iostream>
#include <simgrid/s4u.hpp>
#include <string>
#include <vector>

namespace sg4 = simgrid::s4u;

struct Flow {
  double release;
  sg4::Host* source;
  sg4::Host* target;
  uint64_t bytes;
};

static double cpu_s()
{
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

static size_t count(const char* what)
{
  std::string word;
  size_t n;
  if (!(std::cin >> word >> n) || word != what) {
    std::fprintf(stderr, "expected: %s <number>, found: %s\n", what, word.c_str());
    std::exit(2);
  }
  return n;
}

int main(int argc, char** argv)
{
  sg4::Engine engine(&argc, argv);
  std::ios::sync_with_stdio(false);
  auto* zone = sg4::create_full_zone("network");

  std::vector<sg4::Link*> links(count("links"));
  for (size_t k = 0; k < links.size(); k++) {
    double speed, latency;
    std::cin >> speed >> latency;
    links[k] = zone->create_link("link" + std::to_string(k), speed)->set_latency(latency)->seal();
  }
  std::vector<sg4::Host*> hosts(count("hosts"));
  for (size_t k = 0; k < hosts.size(); k++)
    hosts[k] = zone->create_host("host" + std::to_string(k), 1e9)->seal();
  for (size_t k = count("routes"); k > 0; k--) {
    size_t source, target, hops, link;
    std::cin >> source >> target >> hops;
    std::vector<sg4::LinkInRoute> path;
    for (size_t hop = 0; hop < hops; hop++) {
      std::cin >> link;
      path.emplace_back(links.at(link));
    }
    zone->add_route(hosts.at(source)->get_netpoint(), hosts.at(target)->get_netpoint(), nullptr,
                    nullptr, path, false);
  }
  zone->seal();

  std::vector<Flow> flows(count("flows"));
  for (auto& flow : flows) {
    size_t source, target;
    std::cin >> flow.release >> source >> target >> flow.bytes;
    flow.source = hosts.at(source);
    flow.target = hosts.at(target);
  }
  if (!std::cin) {
    std::fprintf(stderr, "the case ends early\n");
    return 2;
  }

  std::vector<sg4::CommPtr> comms;
  comms.reserve(flows.size());
  sg4::Actor::create("starter", hosts[0], [&flows, &comms] {
    for (const auto& flow : flows) {
      sg4::this_actor::sleep_until(flow.release);
      comms.push_back(sg4::Comm::sendto_async(flow.source, flow.target, flow.bytes));
    }
    for (const auto& comm : comms)
      comm->wait();
  });
  const double before = cpu_s();
  engine.run();
  std::printf("%.6f\n", cpu_s() - before);
  for (const auto& comm : comms)
    std::printf("%.17g\n", comm->get_finish_time());
  return 0;
}
