//! Order of a graph: a cycle, or an order in which inputs come first.

use petgraph::{
    algo::toposort,
    graph::{DiGraph, NodeIndex},
    visit::{DfsPostOrder, Reversed},
};

/// Stage instances by index; edges run from input to user.
pub(crate) type Dag = DiGraph<(), ()>;

/// A graph with `n` nodes.
pub(crate) fn dag(n: usize, edges: impl IntoIterator<Item = (usize, usize)>) -> Dag {
    let mut dag = Dag::with_capacity(n, n);
    (0..n).for_each(|_| {
        dag.add_node(());
    });
    edges.into_iter().for_each(|(a, b)| {
        dag.update_edge(NodeIndex::new(a), NodeIndex::new(b), ());
    });
    dag
}

/// The nodes with inputs first and otherwise in order of their index; or a cycle, as a path back to its start.
pub(crate) fn order(dag: &Dag) -> Result<Vec<usize>, Vec<usize>> {
    if let Err(cycle) = toposort(dag, None) {
        return Err(cycle_through(dag, cycle.node_id()));
    }
    // toposort's own order depends on its search; this one depends on the file alone.
    let reversed = Reversed(dag);
    let mut out = Vec::with_capacity(dag.node_count());
    let mut search = DfsPostOrder::empty(reversed);
    for node in dag.node_indices() {
        search.move_to(node);
        while let Some(next) = search.next(reversed) {
            out.push(next.index());
        }
    }
    Ok(out)
}

/// A shortest cycle through `start`, against the edges (each uses the next), beginning and ending with its lowest index.
fn cycle_through(dag: &Dag, start: NodeIndex) -> Vec<usize> {
    let mut parent = vec![None; dag.node_count()];
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        let mut uses: Vec<_> = dag.neighbors_directed(node, petgraph::Incoming).collect();
        uses.sort();
        for next in uses {
            if next == start {
                return unwind(&parent, start, node);
            }
            if parent[next.index()].is_none() {
                parent[next.index()] = Some(node);
                queue.push_back(next);
            }
        }
    }
    vec![start.index(), start.index()]
}

fn unwind(parent: &[Option<NodeIndex>], start: NodeIndex, last: NodeIndex) -> Vec<usize> {
    let mut path = vec![last.index()];
    while let Some(node) = path.last().filter(|&&n| n != start.index()).and_then(|&n| parent[n]) {
        path.push(node.index());
    }
    path.reverse();
    let lowest = (0..path.len()).min_by_key(|&i| path[i]).unwrap_or(0);
    path.rotate_left(lowest);
    path.push(path[0]);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_come_first_and_the_file_decides_the_rest() {
        assert_eq!(order(&dag(4, [(2, 0), (3, 0), (2, 1)])).unwrap(), [2, 3, 0, 1]);
        assert_eq!(order(&dag(3, [])).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn a_cycle_is_a_path_back_to_its_start() {
        assert_eq!(order(&dag(1, [(0, 0)])).unwrap_err(), [0, 0]);
        // 0 uses 1, 1 uses 2, 2 uses 0; 3 is outside.
        assert_eq!(order(&dag(4, [(1, 0), (2, 1), (0, 2), (0, 3)])).unwrap_err(), [0, 1, 2, 0]);
    }
}
